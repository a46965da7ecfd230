/** "Why nothing?" and statistics as read-only documents, and the adapters' names: from the server and the program. */

import { execFile } from 'node:child_process';
import * as os from 'node:os';
import { promisify } from 'node:util';
import * as vscode from 'vscode';
import type { Session } from './session.ts';
import { counters, narrowed, week } from './statistics.ts';

const SCHEME = 'midfill';
const NO_SERVER = 'midfill is not running. The status bar item says why, and what to do.\n';

export class Reports implements vscode.TextDocumentContentProvider {
  private readonly texts = new Map<string, string>();
  private readonly changes = new vscode.EventEmitter<vscode.Uri>();
  readonly onDidChange = this.changes.event;

  constructor(private readonly session: Session) {}

  register(): vscode.Disposable {
    return vscode.Disposable.from(vscode.workspace.registerTextDocumentContentProvider(SCHEME, this), this.changes);
  }

  provideTextDocumentContent(uri: vscode.Uri): string {
    return this.texts.get(uri.path) ?? '';
  }

  /** Show why the last request in `document` got its answer. */
  async explain(document: vscode.TextDocument | undefined): Promise<void> {
    const params = document === undefined || document.uri.scheme === SCHEME ? {} : { textDocument: { uri: document.uri.toString() } };
    const client = this.session.client();
    const told = await client?.sendRequest<{ story: string } | null>('midfill/explain', params);
    const none = 'There was no request in this file yet: type something, or choose "Trigger Suggestion".\n';
    await this.show('Explain last suggestion.txt', client === undefined ? NO_SERVER : narrowed(told?.story ?? none));
  }

  /** Show this session's counters, and this machine's records of a week. */
  async statistics(): Promise<void> {
    const client = this.session.client();
    const counts = await client?.sendRequest<Record<string, unknown>>('midfill/stats');
    const recorded = this.session.found === undefined ? '' : await this.run('stats', '--days', '7', '--json');
    const text = `${counters(counts ?? {})}\n${week(recorded)}`;
    await this.show('Statistics.txt', client === undefined ? NO_SERVER : text);
  }

  /** Return the names of the registered adapters. */
  async adapters(): Promise<string[]> {
    const listing = this.session.found === undefined ? '' : await this.run('adapters', 'list');
    return listing.split('\n').filter((line) => line.trim() && !line.startsWith('none in ')).map((line) => line.split(/\s/, 1)[0]!);
  }

  private async run(...words: string[]): Promise<string> {
    const program = this.session.found!.program;
    try {
      return (await promisify(execFile)(program, words, { cwd: os.homedir(), timeout: 30_000 })).stdout;
    } catch (error) {
      return `midfill ${words.join(' ')}: ${error instanceof Error ? error.message : String(error)}\n`;
    }
  }

  private async show(name: string, text: string): Promise<void> {
    const uri = vscode.Uri.from({ scheme: SCHEME, path: `/${name}` });
    this.texts.set(uri.path, text);
    this.changes.fire(uri);
    const document = await vscode.workspace.openTextDocument(uri);
    await vscode.window.showTextDocument(await vscode.languages.setTextDocumentLanguage(document, 'midfill-report'), {
      preview: true, viewColumn: vscode.ViewColumn.Beside, preserveFocus: true,
    });
  }
}
