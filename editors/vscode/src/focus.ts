/** Tells the server where the cursor is: when it rests, and when a document becomes the active one. */

import * as vscode from 'vscode';
import type { BaseLanguageClient } from 'vscode-languageclient/node';
import { SELECTOR } from './client.ts';

const METHOD = 'textDocument/didFocus';
const REST_MS = 300;

export class Focus implements vscode.Disposable {
  private timer: NodeJS.Timeout | undefined;
  private readonly listeners: vscode.Disposable[];

  constructor(private readonly client: () => BaseLanguageClient | undefined) {
    this.listeners = [
      vscode.window.onDidChangeActiveTextEditor(() => this.soon(0)),
      vscode.window.onDidChangeTextEditorSelection(({ textEditor }) => {
        if (textEditor === vscode.window.activeTextEditor) {
          this.soon(REST_MS);
        }
      }),
    ];
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.listeners.forEach((listener) => void listener.dispose());
  }

  /** Tell the server in `ms` from now, unless the cursor moves before. */
  soon(ms: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.tell(), ms);
  }

  private tell(): void {
    const [editor, client] = [vscode.window.activeTextEditor, this.client()];
    if (editor === undefined || client === undefined || !vscode.languages.match(SELECTOR, editor.document)) {
      return;
    }
    const { asUri, asPosition } = client.code2ProtocolConverter;
    const params = { textDocument: { uri: asUri(editor.document.uri) }, position: asPosition(editor.selection.active) };
    void client.sendNotification(METHOD, params).catch(() => undefined);
  }
}
