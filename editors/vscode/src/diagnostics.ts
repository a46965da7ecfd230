/** Passes on the errors and warnings of other language servers near the cursor. No request waits for them. */

import * as vscode from 'vscode';
import type { BaseLanguageClient } from 'vscode-languageclient/node';
import { SELECTOR } from './client.ts';

const METHOD = 'midfill/diagnostics';
const SOON_MS = 300;
const NEAR_LINES = 60;
const MAX_TOLD = 50;

export class Diagnostics implements vscode.Disposable {
  private timer: NodeJS.Timeout | undefined;
  private readonly listeners: vscode.Disposable[];

  constructor(private readonly client: () => BaseLanguageClient | undefined) {
    this.listeners = [
      vscode.languages.onDidChangeDiagnostics(({ uris }) => {
        const here = vscode.window.activeTextEditor?.document.uri.toString();
        if (uris.some((uri) => uri.toString() === here)) {
          this.soon();
        }
      }),
      vscode.window.onDidChangeActiveTextEditor(() => this.soon()),
    ];
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.listeners.forEach((listener) => void listener.dispose());
  }

  /** Send them in a moment; another change before that restarts the wait. */
  soon(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.tell(), SOON_MS);
  }

  private tell(): void {
    const [editor, client] = [vscode.window.activeTextEditor, this.client()];
    if (editor === undefined || client === undefined || !vscode.languages.match(SELECTOR, editor.document)) {
      return;
    }
    const { document, selection: { active } } = editor;
    const far = ({ range }: vscode.Diagnostic): number => Math.abs(range.start.line - active.line);
    const near = vscode.languages
      .getDiagnostics(document.uri)
      .filter((one) => one.severity <= vscode.DiagnosticSeverity.Warning && far(one) <= NEAR_LINES)
      .sort((a, b) => far(a) - far(b));
    const { asUri, asRange } = client.code2ProtocolConverter;
    const diagnostics = near.slice(0, MAX_TOLD).map(({ range, severity, message }) => ({
      range: asRange(range), severity: severity + 1, message, // LSP counts from 1
    }));
    const params = { textDocument: { uri: asUri(document.uri), version: document.version }, diagnostics };
    void client.sendNotification(METHOD, params).catch(() => undefined);
  }
}
