/** Why there are no automatic suggestions in a document: the server says so in the same words in every editor. */

import * as vscode from 'vscode';
import { SELECTOR } from './client.ts';
import type { Session } from './session.ts';

/** The answer to `midfill/why`. */
export interface Told {
  off: string;
  why: string;
  language: string;
  /** The language's name for users. */
  name: string;
  disabledLanguages: string[];
}

export class Why implements vscode.Disposable {
  private readonly known = new WeakMap<vscode.TextDocument, Told>();
  private readonly changes = new vscode.EventEmitter<void>();
  readonly onChange = this.changes.event;

  constructor(private readonly session: Session) {}

  dispose(): void {
    this.changes.dispose();
  }

  /** Return the last known reason for `document`; "" if there is none. */
  of(document: vscode.TextDocument | undefined): string {
    return (document && this.known.get(document)?.why) ?? '';
  }

  /** Ask the server. Returns undefined if there is no server, or it does not know the document. */
  async ask(document: vscode.TextDocument | undefined): Promise<Told | undefined> {
    const client = this.session.client();
    if (document === undefined || client === undefined || !vscode.languages.match(SELECTOR, document)) {
      return undefined;
    }
    const params = { textDocument: { uri: client.code2ProtocolConverter.asUri(document.uri) } };
    const told = await client.sendRequest<Told>('midfill/why', params).catch(() => undefined);
    if (!told?.language && told?.off !== 'disabled') {
      return undefined; // the server does not know the document yet
    }
    const before = this.of(document);
    this.known.set(document, told);
    if (told.why !== before) {
      this.changes.fire();
    }
    return told;
  }
}
