/** One request for ghost text, from VS Code's request to what is shown. */

import * as vscode from 'vscode';
import type { InlineCompletionList } from 'vscode-languageclient/node';
import { goingOn, texts } from './growth.ts';

const NONE: InlineCompletionList = { items: [] };

/** One request to the server, and what VS Code knows of it. */
export interface Live {
  readonly document: vscode.TextDocument;
  readonly version: number;
  readonly position: vscode.Position;
  readonly invoked: boolean;
  /** The expected text, taken from the request that this one continues. */
  readonly expected: string;
  /** What the user has typed along it since. */
  typed: string;
  readonly stop: vscode.CancellationTokenSource;
  latest: InlineCompletionList;
  shown: InlineCompletionList;
  /** The selected entry of the suggest widget when the suggestion was last shown. */
  selected: vscode.SelectedCompletionInfo | undefined;
  /** Resolves with the first value if the suggestion may grow, else with the last one. */
  first: Promise<void>;
  /** How many of VS Code's requests wait for `first`. */
  nWaiting: number;
  answered: boolean;
  finished: boolean;
  isPumping: boolean;
}

/** Return a new request. */
export function begun(
  document: vscode.TextDocument, position: vscode.Position, invoked: boolean, expected: string,
): Live {
  return {
    document, version: document.version, position, invoked, expected, typed: '',
    stop: new vscode.CancellationTokenSource(), latest: NONE, shown: NONE,
    selected: undefined, first: Promise.resolve(), nWaiting: 0, answered: false, finished: false, isPumping: false,
  };
}

type Spot = Pick<Live, 'document' | 'version' | 'position'>;

/** Whether the cursor of `editor` is still at the place of the request, and nothing has changed since. */
export function isInPlace(live: Spot, editor: vscode.TextEditor | undefined): boolean {
  return (
    editor?.document === live.document && live.document.version === live.version &&
    editor.selection.isEmpty && editor.selection.active.isEqual(live.position)
  );
}

/** Return where the cursor of `editor` is, in the text as it is now. */
export function placeOf(editor: vscode.TextEditor | undefined): Spot | undefined {
  return editor && { document: editor.document, version: editor.document.version, position: editor.selection.active };
}

/**
 * Whether VS Code, which was made to ask at `spot`, asks at another place of the same text: it knows before this process
 * does that the cursor moved, and where a cursor only moves nothing is shown.
 */
export function hasMoved(spot: Spot | undefined, document: vscode.TextDocument, position: vscode.Position): boolean {
  return spot?.document === document && spot.version === document.version && !spot.position.isEqual(position);
}

/** Return what is known of a request's suggestion. */
export function known(live: Live): string {
  return texts(live.latest)[0] ?? live.expected;
}

/** Whether `position` is the place that the user has reached by typing along `live`. */
export function isAlong(live: Live, document: vscode.TextDocument, position: vscode.Position): boolean {
  const reached = document.offsetAt(live.position) + live.typed.length;
  return live.document === document && document.offsetAt(position) === reached;
}

/** Return `item` for the selected entry of the suggest widget, or nothing if it does not continue that entry. */
export function fitted(
  item: vscode.InlineCompletionItem, live: Live, { range, text }: vscode.SelectedCompletionInfo,
): vscode.InlineCompletionItem[] {
  const typed = live.document.getText(new vscode.Range(range.start, live.position));
  const whole = goingOn(text, typed, String(item.insertText));
  if (whole === undefined) {
    return [];
  }
  const end = item.range?.end ?? live.position;
  const fitting = new vscode.InlineCompletionItem(whole, new vscode.Range(range.start, end.isAfter(range.end) ? end : range.end));
  return [Object.assign(fitting, { command: item.command })];
}
