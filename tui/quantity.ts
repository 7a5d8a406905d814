/**
 * Quantities as people read them, each in a few characters.
 *
 * Pure. Bytes are in powers of 1024, fuel and counts in powers of 1000, as elsewhere in realm.
 *
 * @module
 */

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"] as const;
const COUNT_UNITS = ["", "k", "M", "G", "T"] as const;

/** `512 B`, `1.5 KiB`, `64 MiB`: at most three digits and the unit. */
export function formatBytes(bytes: number): string {
  const [text, unit] = scaled(bytes, 1024, BYTE_UNITS);
  return `${text} ${unit}`;
}

/** What is used of a maximum, in the unit of the maximum: `24/64 MiB`, `0.1/2 GiB`. */
export function formatBytesOf(bytes: number, bytesMax: number): string {
  const [max, unit] = scaled(bytesMax, 1024, BYTE_UNITS);
  const used = bytes / 1024 ** BYTE_UNITS.indexOf(unit);
  return `${digits(used)}/${max} ${unit}`;
}

/** `950`, `1.2k`, `5M`, `1G`: fuel, or any count. */
export function formatCount(count: number): string {
  return scaled(count, 1000, COUNT_UNITS).join("");
}

/** The two largest units of a length of time: `4s`, `3m20s`, `2h5m`, `9d4h`. */
export function formatAge(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const [days, hours, minutes] = [86_400, 3_600, 60].map((unit) => Math.floor(seconds / unit)) as [
    number,
    number,
    number,
  ];
  if (days > 0) return `${days}d${hours % 24 === 0 ? "" : `${hours % 24}h`}`;
  if (hours > 0) return `${hours}h${minutes % 60 === 0 ? "" : `${minutes % 60}m`}`;
  if (minutes > 0) return `${minutes}m${seconds % 60 === 0 ? "" : `${seconds % 60}s`}`;
  return `${seconds}s`;
}

/** A bar of `width` cells, `fraction` of them full; what is above nothing shows in one cell. */
export function formatBar(fraction: number, width: number): string {
  const bounded = Math.min(1, Math.max(0, fraction));
  const full = bounded === 0 ? 0 : Math.max(1, Math.round(bounded * width));
  return "█".repeat(full) + "░".repeat(width - full);
}

/** Local wall time as `HH:MM:SS`. */
export function formatTime(wallMs: number): string {
  const date = new Date(wallMs);
  return [date.getHours(), date.getMinutes(), date.getSeconds()]
    .map((part) => String(part).padStart(2, "0")).join(":");
}

/** A round trip: `0.4 ms`, `12 ms`, `1.2 s`. */
export function formatLatency(ms: number): string {
  return ms < 1_000 ? `${digits(ms)} ms` : `${digits(ms / 1_000)} s`;
}

/** One line that a terminal shows as it is: tabs are spaces, control characters are escaped. */
export function singleLine(text: string): string {
  if (/^[\x20-\x7e]*$/.test(text)) return text; // most are
  return text.toWellFormed().replaceAll("\t", "  ").replace(
    // Bidirectional controls too: they could reorder what stands beside the text.
    // deno-lint-ignore no-control-regex
    /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    (c) => `\\u{${c.charCodeAt(0).toString(16)}}`,
  );
}

/** The number in the largest unit that leaves at least 1 before the point. */
function scaled<U extends string>(
  value: number,
  base: number,
  units: readonly U[],
): [text: string, unit: U] {
  let power = 0;
  // Rounding may reach the next unit: 1023.9 KiB is 1 MiB.
  while (power < units.length - 1 && Number(digits(value / base ** power)) >= base) power++;
  return [digits(value / base ** power), units[power]!];
}

/** One digit after the point below 100, where it says something. */
function digits(value: number): string {
  return value < 99.95 ? value.toFixed(1).replace(/\.0$/, "") : String(Math.round(value));
}
