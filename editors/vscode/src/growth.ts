/** A growing suggestion: which of its values are worth a frame, and which part the user typed or accepted. */

import type { InlineCompletionList } from 'vscode-languageclient/node';
import { MAX_AHEAD, PAIRS } from './constants.ts';

type Item = InlineCompletionList['items'][number];

export function texts(list: InlineCompletionList): string[] {
  return list.items.map(textOf);
}

export function textOf(item: Item): string {
  return typeof item.insertText === 'string' ? item.insertText : item.insertText.value;
}

/** Whether `next` only extends `shown`, so text that the user has read does not move. Both are candidates' texts. */
export function adds(shown: readonly string[], next: readonly string[]): boolean {
  const [before, after] = [shown[0] ?? '', next[0] ?? ''];
  return after.length > before.length && after.startsWith(before);
}

/** Whether the two are the same. */
export function same(shown: readonly string[], next: readonly string[]): boolean {
  return shown.length === next.length && shown.every((text, index) => text === next[index]);
}

/** Whether a suggestion whose text so far is `text` still fits after `typed`. More text may come. */
export function leadsOn(text: string, typed: string): boolean {
  return text.startsWith(typed) || (text !== '' && typed.startsWith(text) && typed.length - text.length <= MAX_AHEAD);
}

/**
 * Return a suggestion for VS Code while the suggest widget has an entry selected: `typed` (what that entry replaces,
 * left of the cursor) followed by `text`, or undefined if that does not continue the entry: VS Code would show nothing.
 */
export function goingOn(entry: string, typed: string, text: string): string | undefined {
  return (typed + text).startsWith(entry) ? typed + text : undefined;
}

/** Return what to draw of a suggestion before `covered`, the closers that it replaces: without them, if it ends so. */
export function uncovered(text: string, covered: string): string {
  const [first = '', ...others] = text.split('\n');
  const drawn = covered && first.endsWith(covered) ? first.slice(0, -covered.length) : first;
  return [drawn, ...others].join('\n');
}

/** An edit, as `TextDocumentContentChangeEvent` describes it. */
interface Change {
  rangeOffset: number;
  rangeLength: number;
  text: string;
}

/**
 * Return what an edit typed at `offset`, or "" if it did something else. With an opener the editor inserts the closer
 * too. One character may be typed over another: if that fits the suggestion, it is a closer that the editor inserted.
 */
export function typedPiece(change: Change, offset: number): string {
  const isOver = change.rangeLength === 1 && change.text.length === 1;
  if (change.rangeOffset !== offset || (change.rangeLength > 0 && !isOver)) {
    return '';
  }
  return PAIRS.includes(change.text) ? change.text[0]! : change.text;
}

/**
 * Return how many characters VS Code accepted of a suggestion that was shown at `offset`: a piece from its beginning,
 * inserted at once. A single character was typed, and so was a pair of brackets that the editor closed by itself.
 */
export function takenPart(text: string, offset: number, change: Omit<Change, 'rangeLength'>): number {
  const piece = change.text;
  const wasTyped = piece.length < 2 || PAIRS.includes(piece);
  const isPart = piece.length < text.length && text.startsWith(piece);
  return change.rangeOffset === offset && isPart && !wasTyped ? piece.length : 0;
}
