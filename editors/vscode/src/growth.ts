/** A growing suggestion: which of its values are worth a frame, and what of it was typed or taken. */

import type { InlineCompletionList } from 'vscode-languageclient/node';
import { MAX_AHEAD, PAIRS } from './constants.ts';

type Item = InlineCompletionList['items'][number];

export function texts(list: InlineCompletionList): string[] {
  return list.items.map(textOf);
}

export function textOf(item: Item): string {
  return typeof item.insertText === 'string' ? item.insertText : item.insertText.value;
}

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
 * A suggestion as it must be where an entry is selected in the suggest widget: `typed` (what that entry replaces, left of
 * the cursor) and `text` behind it. undefined where it does not go on with the entry: VS Code would show nothing of it.
 */
export function goingOn(entry: string, typed: string, text: string): string | undefined {
  return (typed + text).startsWith(entry) ? typed + text : undefined;
}

/** What is drawn of a suggestion before `covered`, the closers that it replaces: without them, if it ends with them. */
export function uncovered(text: string, covered: string): string {
  const [first = '', ...others] = text.split('\n');
  const drawn = covered && first.endsWith(covered) ? first.slice(0, -covered.length) : first;
  return [drawn, ...others].join('\n');
}

/** An edit as `TextDocumentContentChangeEvent` tells it. */
interface Change {
  rangeOffset: number;
  rangeLength: number;
  text: string;
}

/**
 * What an edit typed at `offset`; "" if it did something else. An opener brings its closer along, and one character may
 * be typed over another: where that fits the suggestion, it is a closer that the editor put in.
 */
export function typedPiece(change: Change, offset: number): string {
  const isOver = change.rangeLength === 1 && change.text.length === 1;
  if (change.rangeOffset !== offset || (change.rangeLength > 0 && !isOver)) {
    return '';
  }
  return PAIRS.includes(change.text) ? change.text[0]! : change.text;
}

/**
 * What VS Code took of a suggestion that was shown at `offset`: a piece from its beginning, put in at once. A single
 * character was typed, and so was a pair of brackets that the editor closed by itself.
 */
export function takenPart(text: string, offset: number, change: Omit<Change, 'rangeLength'>): number {
  const piece = change.text;
  const wasTyped = piece.length < 2 || PAIRS.includes(piece);
  const isPart = piece.length < text.length && text.startsWith(piece);
  return change.rangeOffset === offset && isPart && !wasTyped ? piece.length : 0;
}
