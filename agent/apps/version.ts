/**
 * The order of the versions of bundles: that of semantic versions (https://semver.org, 11).
 *
 * @module
 */

/** Below zero where `a` comes before `b`, zero where neither does. Both passed `isVersion`. */
export function compareVersions(a: string, b: string): number {
  const [first, second] = [parts(a), parts(b)];
  const release = compareWords(first.release, second.release);
  if (release !== 0) return release;
  // What comes before a release has words after its numbers.
  if (first.before.length === 0 || second.before.length === 0) {
    return second.before.length - first.before.length;
  }
  return compareWords(first.before, second.before);
}

function parts(version: string): { readonly release: string[]; readonly before: string[] } {
  const [release = "", before] = version.split(/-(.*)/s);
  return { release: release.split("."), before: before === undefined ? [] : before.split(".") };
}

/** Word by word, numbers before other words; of two that begin alike the shorter is the first. */
function compareWords(a: readonly string[], b: readonly string[]): number {
  for (const [i, word] of a.entries()) {
    const other = b[i];
    if (other === undefined) break;
    if (word === other) continue;
    const [isNumber, isOtherNumber] = [/^\d+$/.test(word), /^\d+$/.test(other)];
    if (isNumber !== isOtherNumber) return isNumber ? -1 : 1;
    if (!isNumber) return word < other ? -1 : 1;
    if (Number(word) !== Number(other)) return Number(word) - Number(other);
  }
  return a.length - b.length;
}
