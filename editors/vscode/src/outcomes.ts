/**
 * Tells the server what became of suggestions; the server counts them on this machine.
 *
 * Accepting is the item's command. VS Code's stable API reports nothing else: a suggestion counts as shown if it was
 * the answer for a moment, and as accepted in part if a piece from its beginning was inserted at once.
 */

import * as vscode from 'vscode';
import type { BaseLanguageClient, InlineCompletionItem } from 'vscode-languageclient/node';
import { takenPart, textOf } from './growth.ts';

const SEEN_MS = 50;
const MAX_KNOWN = 50;

interface Offer {
  document: vscode.TextDocument;
  offset: number;
  item: InlineCompletionItem;
  text: string;
  id: string;
}

export class Outcomes implements vscode.Disposable {
  private offer: Offer | undefined;
  /** Characters accepted so far by suggestion: it keeps its id while the user types along or accepts parts. */
  private readonly taken = new Map<string, number>();
  private readonly seen = new Set<string>();
  private readonly listener: vscode.Disposable;

  constructor(private readonly client: () => BaseLanguageClient | undefined, private readonly onSeen: () => void) {
    this.listener = vscode.workspace.onDidChangeTextDocument((event) => this.changed(event));
  }

  dispose(): void {
    this.listener.dispose();
  }

  /** Note that VS Code got `items`. `stands` tells later whether it still shows them. */
  offered(
    document: vscode.TextDocument, position: vscode.Position, items: readonly InlineCompletionItem[], stands: () => boolean,
  ): void {
    const item = items[0];
    const id: unknown = item?.command?.arguments?.[0];
    if (item === undefined || typeof id !== 'string') {
      return;
    }
    const start = item.range === undefined ? position : new vscode.Position(item.range.start.line, item.range.start.character);
    const text = textOf(item);
    const known = document.getText(new vscode.Range(start, position)); // an item may begin with the widget's text
    const rest = text.startsWith(known) ? text.slice(known.length) : text;
    this.offer = { document, offset: document.offsetAt(position), item, text: rest, id };
    if (!this.seen.has(id)) {
      setTimeout(() => this.tellSeen(id, item, stands), SEEN_MS);
    }
  }

  /** Tell the server that the user dismissed `text` at `position`. */
  dismissed(document: vscode.TextDocument, position: vscode.Position, text: string): void {
    const converter = this.client()?.code2ProtocolConverter;
    if (converter !== undefined) {
      const textDocument = { uri: converter.asUri(document.uri), version: document.version };
      this.tell('midfill/dismissed', { textDocument, position: converter.asPosition(position), text });
    }
  }

  private tellSeen(id: string, item: InlineCompletionItem, stands: () => boolean): void {
    if (this.seen.has(id) || !stands()) {
      return;
    }
    if (this.seen.size >= MAX_KNOWN) {
      this.seen.clear();
      this.taken.clear();
    }
    this.seen.add(id);
    this.onSeen();
    this.tell('textDocument/didShowCompletion', { item });
  }

  private changed(event: vscode.TextDocumentChangeEvent): void {
    const offer = this.offer;
    const change = event.contentChanges[0];
    if (offer?.document !== event.document || change === undefined) {
      return;
    }
    this.offer = undefined;
    const n = event.contentChanges.length === 1 ? takenPart(offer.text, offer.offset, change) : 0;
    if (n > 0) {
      const acceptedLength = (this.taken.get(offer.id) ?? 0) + n;
      this.taken.set(offer.id, acceptedLength);
      this.tell('textDocument/didPartiallyAcceptCompletion', { item: offer.item, acceptedLength });
    }
  }

  private tell(method: string, params: unknown): void {
    void this.client()?.sendNotification(method, params).catch(() => undefined);
  }
}
