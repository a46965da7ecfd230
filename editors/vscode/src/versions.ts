/** What this VS Code can do. */

/**
 * Growing suggestions need the command `editor.action.inlineSuggest.trigger` to accept a provider, which it does from
 * 1.106 on (1.103 does not). Without that, each step would ask every extension for suggestions.
 */
export const GROWS_SINCE = [1, 106] as const;

/** Whether version `text`, such as "1.109.2-insider", is at least `[major, minor]`. */
export function isAtLeast(text: string, [major, minor]: readonly [number, number]): boolean {
  const [first = Number.NaN, second = 0] = text.split('.').map((part) => Number.parseInt(part, 10));
  return first > major || (first === major && second >= minor);
}
