/**
 * Asks other language servers which names may follow a dot and what a callee takes, and passes that on to midfill. No
 * request waits for it.
 */

import * as vscode from 'vscode';
import type { BaseLanguageClient } from 'vscode-languageclient/node';
import { SELECTOR } from './client.ts';
import { MAX_KEYWORDS, MAX_NAMES, MAX_SIGNATURES, MAX_WHOLE } from './constants.ts';
import { definitionAt } from './definitions.ts';

const METHOD = 'midfill/names';
const SIGNATURES = 'midfill/signatures';
const DEFINITIONS = 'midfill/definitions';
const PLACES = 'midfill/places'; // the server's answer says where to ask
const REST_MS = 150;
const BEHIND_ACCESS = /(?:\.|::|->)[$\w]*$/u;
const NOW = /(?:\.|::|->|\(\)?)$/u; // typed, with the closer that VS Code adds: other servers are asked at once

type Kind = vscode.CompletionItemKind;
type Position = { line: number; character: number };
type Name = { position: Position; type: boolean };
type Places = { places: Position[]; call?: Position | null; names?: Name[] };

const { Text, Keyword, Snippet, File, Folder } = vscode.CompletionItemKind;
// Kinds of entries that are not names: words of the text, keywords, snippets, files and folders.
const NO_NAMES: ReadonlySet<Kind | undefined> = new Set([Text, Keyword, Snippet, File, Folder]);

/**
 * Return the names of a list, and whether it is complete. A short list is complete even if its server says otherwise
 * (server/midfill/lsp/names.py), unless the beginning of a name was typed (`isBegun`), which may have filtered it.
 */
export function read(list: vscode.CompletionList, isBegun: boolean): { names: string[]; complete: boolean } {
  if (list.items.filter(({ kind }) => kind === Keyword).length > MAX_KEYWORDS) {
    return { names: [], complete: false }; // names in scope: the server read the broken text in another way
  }
  const named = list.items.filter(({ kind }) => !NO_NAMES.has(kind));
  const labels = named.map(({ label, filterText }) => filterText ?? (typeof label === 'string' ? label : label.label));
  const isShort = labels.filter((label) => !/^__.*__$/u.test(label)).length <= MAX_WHOLE;
  const isWhole = list.isIncomplete !== true || (isShort && !isBegun);
  // A list that holds words of the text comes from a server that does not know the names.
  const complete = isWhole && labels.length <= MAX_NAMES && !list.items.some(({ kind }) => kind === Text);
  return { names: [...new Set(labels)].slice(0, MAX_NAMES), complete: complete && labels.length > 0 };
}

export class Names implements vscode.Disposable {
  private timer: NodeJS.Timeout | undefined;
  private last = '';
  private lastAsked = '';
  private readonly listeners: vscode.Disposable[];

  constructor(private readonly client: () => BaseLanguageClient | undefined) {
    this.listeners = [
      vscode.workspace.onDidChangeTextDocument(({ document, contentChanges }) => {
        if (document === vscode.window.activeTextEditor?.document && contentChanges.length > 0) {
          this.soon(NOW.test(contentChanges[contentChanges.length - 1]?.text ?? '') ? 0 : REST_MS);
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

  /**
   * Ask once for each place after a dot, for the other places in the cursor's function that the server names, what the
   * call at the cursor takes, and what the names near it are.
   */
  private async ask(): Promise<void> {
    const [editor, client] = [vscode.window.activeTextEditor, this.client()];
    if (editor === undefined || client === undefined || !vscode.languages.match(SELECTOR, editor.document)) {
      return;
    }
    const { document, selection: { active } } = editor;
    const { version } = document;
    const { asUri, asPosition, asRange } = client.code2ProtocolConverter;
    const textDocument = { uri: asUri(document.uri), version };
    const isCurrent = (): boolean => document.version === version && !document.isClosed;
    const here = { textDocument, position: asPosition(active) };
    let wanted: Places;
    try {
      wanted = await client.sendRequest<Places>(PLACES, here);
    } catch {
      return; // the server is stopping, or has another version
    }
    const { places, call, names = [] } = wanted;
    const asked = JSON.stringify([textDocument, call, names]);
    const isNew = asked !== this.lastAsked; // once for a version
    this.lastAsked = asked;
    for (const { position, type } of isNew && isCurrent() ? names : []) {
      void definitionAt(document.uri, new vscode.Position(position.line, position.character), type).then((found) => {
        if (found.targets.length > 0 && isCurrent()) {
          const targets = found.targets.map(({ uri, range }) => ({ uri: asUri(uri), range: asRange(range) }));
          const params = { textDocument, position, targets, hover: found.hover };
          void client.sendNotification(DEFINITIONS, params).catch(() => undefined);
        }
      });
    }
    if (call && isNew && isCurrent()) {
      void signaturesAt(document.uri, new vscode.Position(call.line, call.character)).then((signatures) => {
        if (signatures.length > 0 && isCurrent()) {
          void client.sendNotification(SIGNATURES, { ...here, signatures }).catch(() => undefined);
        }
      });
    }
    for (const { line, character } of places) {
      if (!isCurrent()) {
        return;
      }
      const at = new vscode.Position(line, character);
      const before = document.lineAt(line).text.slice(0, character);
      const stem = before.slice(0, before.length - (/[$\w]*$/u.exec(before)?.[0].length ?? 0));
      const place = `${document.uri.toString()}:${line}:${stem}`;
      const isHere = at.isEqual(active);
      if (!isHere || (place !== this.last && BEHIND_ACCESS.test(before))) {
        this.last = isHere ? place : this.last;
        const list = await listAt(document.uri, at);
        const { names, complete } = list === undefined ? { names: [], complete: false } : read(list, stem !== before);
        if (names.length > 0 && isCurrent()) {
          const params = { textDocument, position: asPosition(at), names, complete };
          void client.sendNotification(METHOD, params).catch(() => undefined);
        } else if (isHere) {
          this.last = ''; // the next key asks again
        }
      }
    }
  }
}

async function listAt(uri: vscode.Uri, at: vscode.Position): Promise<vscode.CompletionList | undefined> {
  try {
    return await vscode.commands.executeCommand('vscode.executeCompletionItemProvider', uri, at);
  } catch {
    return undefined; // an error in another extension
  }
}

async function signaturesAt(uri: vscode.Uri, at: vscode.Position): Promise<{ label: string; parameters: object[] }[]> {
  try {
    const help: vscode.SignatureHelp | undefined =
      await vscode.commands.executeCommand('vscode.executeSignatureHelpProvider', uri, at);
    const found = (help?.signatures ?? []).slice(0, MAX_SIGNATURES + 1); // one more says that these are not all
    return found.map(({ label, parameters }) => ({ label, parameters: parameters.map((one) => ({ label: one.label })) }));
  } catch {
    return []; // an error in another extension
  }
}
