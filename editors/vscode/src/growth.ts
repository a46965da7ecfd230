/** Which of the values of a growing suggestion are worth a frame. */

const MAX_AHEAD = 16; // as the server has it

/** Whether `next` only adds to what is `shown`: what was read stays where it is. Both are candidates' texts. */
export function adds(shown: readonly string[], next: readonly string[]): boolean {
  const [before, after] = [shown[0] ?? '', next[0] ?? ''];
  return after.length > before.length && after.startsWith(before);
}

/** Whether they are the same. */
export function same(shown: readonly string[], next: readonly string[]): boolean {
  return shown.length === next.length && shown.every((text, index) => text === next[index]);
}

/** Whether a suggestion that stands as `text` still fits after `typed`. More of it may come than stands by now. */
export function leadsOn(text: string, typed: string): boolean {
  return text.startsWith(typed) || (text !== '' && typed.startsWith(text) && typed.length - text.length <= MAX_AHEAD);
}

/**
 * What VS Code took of a suggestion that was shown at `offset`: a piece from its beginning, put in at once. A single
 * character was typed, and so was a pair of brackets that the editor closed by itself.
 */
export function takenPart(text: string, offset: number, change: { rangeOffset: number; text: string }): number {
  const piece = change.text;
  const wasTyped = piece.length < 2 || ['()', '[]', '{}', '""', "''", '``'].includes(piece);
  const isPart = piece.length < text.length && text.startsWith(piece);
  return change.rangeOffset === offset && isPart && !wasTyped ? piece.length : 0;
}
