/** Asks the editor's other language servers what may be named behind a dot, and tells midfill. Nobody waits for it. */

import * as vscode from 'vscode';
import type { BaseLanguageClient } from 'vscode-languageclient/node';
import { SELECTOR } from './client.ts';
import { MAX_NAMES, MAX_WHOLE } from './constants.ts';

const METHOD = 'midfill/names';
const REST_MS = 150;
const BEHIND_ACCESS = /(?:\.|::|->)[$\w]*$/u;

type Kind = vscode.CompletionItemKind;

const { Text, Keyword, Snippet, File, Folder } = vscode.CompletionItemKind;
// Words of the text, and what is no name of anything.
const NO_NAMES: ReadonlySet<Kind | undefined> = new Set([Text, Keyword, Snippet, File, Folder]);

/**
 * What a list says: its names, and whether there are no others. A short list is whole, whatever its server calls it
 * (server/midfill/lsp/names.py), unless something was typed that it was chosen by.
 */
export function read(list: vscode.CompletionList, isBegun: boolean): { names: string[]; complete: boolean } {
  const named = list.items.filter(({ kind }) => !NO_NAMES.has(kind));
  const labels = named.map(({ label, filterText }) => filterText ?? (typeof label === 'string' ? label : label.label));
  const isShort = labels.filter((label) => !/^__.*__$/u.test(label)).length <= MAX_WHOLE;
  const isWhole = list.isIncomplete !== true || (isShort && !isBegun);
  // A list that holds words of the text is one of somebody who does not know.
  const complete = isWhole && labels.length <= MAX_NAMES && !list.items.some(({ kind }) => kind === Text);
  return { names: [...new Set(labels)].slice(0, MAX_NAMES), complete: complete && labels.length > 0 };
}

export class Names implements vscode.Disposable {
  private timer: NodeJS.Timeout | undefined;
  private last = '';
  private readonly listeners: vscode.Disposable[];

  constructor(private readonly client: () => BaseLanguageClient | undefined) {
    this.listeners = [
      vscode.workspace.onDidChangeTextDocument(({ document, contentChanges }) => {
        if (document === vscode.window.activeTextEditor?.document && contentChanges.length > 0) {
          this.soon(/(?:\.|::|->)$/u.test(contentChanges[contentChanges.length - 1]?.text ?? '') ? 0 : REST_MS);
        }
      }),
      vscode.window.onDidChangeTextEditorSelection(() => this.soon(REST_MS)),
    ];
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.listeners.forEach((listener) => void listener.dispose());
  }

  private soon(ms: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.ask(), ms);
  }

  /** Once for each place behind a dot: what is typed after it names one of the same. */
  private async ask(): Promise<void> {
    const [editor, client] = [vscode.window.activeTextEditor, this.client()];
    if (editor === undefined || client === undefined || !vscode.languages.match(SELECTOR, editor.document)) {
      return;
    }
    const { document, selection: { active } } = editor;
    const before = document.lineAt(active.line).text.slice(0, active.character);
    const word = BEHIND_ACCESS.exec(before);
    const place = `${document.uri.toString()}:${active.line}:${before.slice(0, before.length - (/[$\w]*$/u.exec(before)?.[0].length ?? 0))}`;
    if (word === null || place === this.last) {
      return;
    }
    this.last = place;
    const version = document.version;
    let list: vscode.CompletionList | undefined;
    try {
      list = await vscode.commands.executeCommand('vscode.executeCompletionItemProvider', document.uri, active);
    } catch {
      return; // another extension's fault
    }
    const { names, complete } = list === undefined ? { names: [], complete: false } : read(list, !/(?:\.|::|->)$/u.test(before));
    if (names.length === 0 || document.version !== version) {
      this.last = ''; // the next key asks again
      return;
    }
    const { asUri, asPosition } = client.code2ProtocolConverter;
    const params = { textDocument: { uri: asUri(document.uri), version }, position: asPosition(active), names, complete };
    void client.sendNotification(METHOD, params).catch(() => undefined);
  }
}
