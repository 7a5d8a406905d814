// Text can be read: https://www.w3.org/TR/WCAG22/#contrast-minimum
import assert from "node:assert/strict";

const CSS = Deno.readTextFileSync(new URL("./page.css", import.meta.url));

/** The colours of the sheet by their names, in light and in dark. */
const COLOURS = new Map(
  [...CSS.matchAll(/--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)/g)]
    .map(([, name, light, dark]) => [name!, [light!, dark!] as const]),
);

function luminance(colour: string): number {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const part = parseInt(colour.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
}

function contrast(a: string, b: string): number {
  const [x, y] = [luminance(a), luminance(b)];
  return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
}

Deno.test("every text has a contrast of 4.5 at least, in light and in dark", () => {
  assert.equal(contrast("#000000", "#ffffff"), 21);
  const pairs = [
    ...["ink", "dim", "accent", "good", "warn", "bad"].flatMap((ink) => [
      [ink, "ground"],
      [ink, "paper"],
    ]),
    ...["accent", "good", "warn", "bad"].flatMap((name) => [
      [name, `${name}-ground`],
      ["ink", `${name}-ground`],
    ]),
    ["dim", "good-ground"], // what is written on the tile of a machine
    ["dim", "warn-ground"],
    ["dim", "bad-ground"],
    ["paper", "accent"], // the button that orders
  ] as [string, string][];
  for (const [ink, ground] of pairs) {
    for (const scheme of [0, 1] as const) {
      const found = contrast(COLOURS.get(ink)![scheme], COLOURS.get(ground)![scheme]);
      assert.ok(found >= 4.5, `${ink} on ${ground}, ${["light", "dark"][scheme]}: ${found}`);
    }
  }
});

Deno.test("the sheet has no colour but those that are checked", () => {
  const rest = CSS.slice(CSS.indexOf("}")); // after the first rule, which names them
  assert.deepEqual(rest.match(/#[0-9a-f]{3,8}\b|\brgba?\([^)]*\)|\bhsla?\([^)]*\)/g), [
    "rgb(0 0 0 / 45%)", // what lies under a dialog
  ]);
});
