/**
 * Ghost text that grows while the model writes it, with VS Code's stable API.
 *
 * A provider of inline completions gives one answer, and VS Code keeps it: it does not ask a provider a second time
 * about the same version and place. But it asks a provider that it has not asked yet. So the first answer is the
 * suggestion's first words. For each later value this module registers the provider anew and tells VS Code to ask it.
 * VS Code replaces the text on the screen by the longer one in one step.
 */

import * as vscode from 'vscode';
import type { BaseLanguageClient } from 'vscode-languageclient/node';
import { ProgressType } from 'vscode-languageclient/node';
import type { InlineCompletionList } from 'vscode-languageclient/node';
import { Beside } from './beside.ts';
import { SELECTOR } from './client.ts';
import { Dismissed } from './dismissed.ts';
import { adds, leadsOn, same, textOf, texts, typedPiece, uncovered } from './growth.ts';
import type { Live } from './live.ts';
import { begun, fitted, hasMoved, isAlong, isInPlace, known, placeOf } from './live.ts';
import type { Outcomes } from './outcomes.ts';

const METHOD = 'midfill/inlineCompletion';
const STEP_MS = 40; // the user does not see faster growth
const FOLLOW_MS = 20;
const KEY_MS = 200; // wait after a cancellation; by then its key has come, or VS Code has asked again
const WIDGET_MS = 700; // VS Code waits 750 ms for ghost text, then opens the suggest widget without it
const AWAITED_MS = 300; // after this, a mark shows where a triggered suggestion will appear
const MAX_IGNORED = 5; // VS Code did not ask although told this many times: it shows nothing here any more

/** What the provider needs from the extension. */
export interface Asked {
  client(): BaseLanguageClient | undefined;
  /** Whether the engine can answer now. */
  ready(): boolean;
  /** Whether automatic suggestions are on. */
  automatic(document: vscode.TextDocument): boolean;
  /** Whether VS Code can be told to ask only this provider. */
  canBeTold(): boolean;
  /** Whether suggestions are shown while they grow. */
  grows(): boolean;
}

export class GhostText implements vscode.Disposable {
  private registration: vscode.Disposable | undefined;
  private live: Live | undefined;
  private nRequests = 0;
  private isOffered = false;
  /** The last place without a suggestion, perhaps because there was no engine. */
  private missed: Pick<Live, 'document' | 'version' | 'position' | 'invoked'> | undefined;
  private triggered: ReturnType<typeof placeOf>; // where VS Code was made to ask, until it has asked
  private readonly beside = new Beside();
  private readonly dismissed = new WeakMap<vscode.TextDocument, Dismissed>();
  private readonly listeners: vscode.Disposable[];

  constructor(private readonly asked: Asked, private readonly outcomes: Outcomes, private readonly extensionId: string) {
    this.register();
    this.listeners = [
      // VS Code's token is useless after the first answer: the next edit or cursor move ends the request.
      vscode.workspace.onDidChangeTextDocument((event) => this.changed(event)),
      vscode.window.onDidChangeTextEditorSelection((event) => this.moved(event)),
      vscode.window.onDidChangeActiveTextEditor(() => this.drop()),
      this.beside,
    ];
  }

  dispose(): void {
    this.drop();
    this.registration?.dispose();
    this.listeners.forEach((listener) => void listener.dispose());
  }

  /** Hide the suggestion, stop its request, and keep it away while the user only types along it. */
  async dismiss(): Promise<void> {
    const [live, editor] = [this.live, vscode.window.activeTextEditor];
    const position = editor?.selection.active;
    // Now: the next keys may change the document before VS Code has hidden the suggestion.
    if (live !== undefined && position !== undefined && isAlong(live, editor!.document, position)) {
      const text = known(live).slice(live.typed.length);
      if (text) {
        const content = live.document.lineAt(position.line).text;
        this.dismissedIn(live.document).add(position.line, content, position.character, text);
        this.outcomes.dismissed(live.document, position, text);
      }
    }
    this.drop();
    await vscode.commands.executeCommand('editor.action.inlineSuggest.hide');
  }

  /** The engine is ready: ask again where it could not answer, if the cursor is still there. */
  async retry(): Promise<void> {
    const [missed, editor] = [this.missed, vscode.window.activeTextEditor];
    this.missed = undefined;
    if (missed !== undefined && isInPlace(missed, editor)) {
      this.register(); // VS Code asks each provider only once about a place
      await this.ask(missed.invoked);
    }
  }

  /** The engine will not answer: remove the mark of an expected suggestion. */
  giveUp(): void {
    this.beside.giveUp();
  }

  /**
   * Accept the next line, and the indentation of the one after it. VS Code's own command would stop at a bracket in the
   * middle of the suggestion; it runs only if it is unknown which candidate VS Code shows.
   */
  async acceptLine(): Promise<void> {
    const [editor, live] = [vscode.window.activeTextEditor, this.live];
    const [item, ...others] = live?.shown.items ?? [];
    const line = item === undefined ? undefined : /^[^\n]*\n[ \t]*/.exec(textOf(item))?.[0];
    const isKnown = live !== undefined && !others.length && live.selected === undefined && isInPlace(live, editor);
    if (!isKnown || editor === undefined || item?.range === undefined || line === undefined) {
      await vscode.commands.executeCommand('editor.action.inlineSuggest.acceptNextLine');
      return;
    }
    const { start, end } = item.range;
    const range = new vscode.Range(start.line, start.character, end.line, end.character);
    const offset = editor.document.offsetAt(range.start);
    await editor.edit((edit) => edit.replace(range, line));
    const cursor = editor.document.positionAt(offset + line.length);
    editor.selection = new vscode.Selection(cursor, cursor);
    await this.ask();
  }

  /** End the running request. */
  drop(): void {
    const live = this.live;
    this.live = undefined;
    if (live !== undefined && !live.finished) {
      live.stop.cancel();
    }
    this.beside.clear();
    this.setOffered(false);
  }

  /** Replace the running request. If the new one continues it, the server must receive the new one first. */
  private follow(): void {
    const old = this.live;
    this.live = undefined;
    if (old !== undefined && !old.finished) {
      setTimeout(() => old.stop.cancel(), old.typed ? FOLLOW_MS : 0);
    }
  }

  private register(): void {
    const old = this.registration;
    this.registration = vscode.languages.registerInlineCompletionItemProvider(SELECTOR, {
      provideInlineCompletionItems: (...given) => this.provide(...given),
    });
    old?.dispose();
  }

  /** Let a suggestion grow while the user types along: VS Code asks again when the keys pause. Other edits end it. */
  private changed(event: vscode.TextDocumentChangeEvent): void {
    const { document, contentChanges } = event;
    this.dismissed.get(document)?.changed(
      contentChanges.map(({ range, text }) => ({
        startLine: range.start.line, endLine: range.end.line, nBreaks: text.split('\n').length - 1,
      })),
      (line) => (line < document.lineCount ? document.lineAt(line).text : undefined),
    );
    const live = this.live;
    if (live?.document !== document || live.version === document.version || !contentChanges.length) {
      return;
    }
    const [change, ...others] = contentChanges;
    const offset = document.offsetAt(live.position) + live.typed.length;
    const piece = change === undefined || others.length ? '' : typedPiece(change, offset);
    live.typed += piece;
    if (!piece || !leadsOn(known(live), live.typed)) {
      this.drop();
    } else if (live.selected !== undefined && this.beside.isShown) {
      this.beside.show(document, document.positionAt(offset + piece.length), known(live).slice(live.typed.length));
    }
  }

  private moved({ textEditor: editor }: vscode.TextEditorSelectionChangeEvent): void {
    const live = this.live;
    if (live?.document !== editor.document) {
      return;
    }
    if (!(live.typed && isAlong(live, editor.document, editor.selection.active)) && !isInPlace(live, editor)) {
      this.drop();
    }
  }

  private async provide(
    document: vscode.TextDocument, position: vscode.Position, context: vscode.InlineCompletionContext,
    token: vscode.CancellationToken,
  ): Promise<vscode.InlineCompletionItem[]> {
    const invoked = context.triggerKind === vscode.InlineCompletionTriggerKind.Invoke;
    if (!invoked && hasMoved(this.triggered, document, position)) {
      return [];
    }
    const before = this.live;
    const isThere =
      before?.document === document && before.version === document.version && before.position.isEqual(position);
    if (isThere && !before.stop.token.isCancellationRequested && (before.invoked || !invoked)) {
      if (!before.answered) {
        return this.follows(before, context, token);
      }
      if (before.latest.items.length) {
        return this.answer(before, context.selectedCompletionInfo);
      }
    }
    if (!invoked && (!this.asked.automatic(document) || this.isDismissed(document, position))) {
      this.drop();
      return [];
    }
    if (invoked) {
      this.dismissed.get(document)?.forget(position.line);
    }
    this.follow();
    const isNext = before?.typed && isAlong(before, document, position);
    const live = begun(document, position, invoked, isNext ? known(before).slice(before.typed.length) : '');
    this.live = this.missed = live;
    const client = this.asked.client();
    if (invoked) {
      this.showAwaited(live);
    }
    if (client === undefined) {
      live.stop.cancel(); // there is no server to wait for; a later request asks again
      return [];
    }
    // The user asks for more candidates while one is shown: show them only when all are there.
    const isForMore = isThere && before.shown.items.length > 0;
    live.first = this.request(client, live, context, this.asked.grows() && !isForMore).then(() => {
      live.answered = true;
    });
    return this.follows(live, context, token);
  }

  /** Answer one of VS Code's requests for a place with the first value. */
  private async follows(
    live: Live, context: vscode.InlineCompletionContext, token: vscode.CancellationToken,
  ): Promise<vscode.InlineCompletionItem[]> {
    live.nWaiting += 1;
    const askedAt = Date.now();
    const early = token.onCancellationRequested(() => {
      live.nWaiting -= 1;
      this.unwanted(live, askedAt);
    });
    await live.first;
    early.dispose();
    live.nWaiting -= token.isCancellationRequested ? 0 : 1;
    const isWanted = this.live === live && !token.isCancellationRequested;
    return isWanted ? this.answer(live, context.selectedCompletionInfo) : [];
  }

  /**
   * VS Code has cancelled its request, for one of three reasons. A key: if it types along, the suggestion continues to
   * grow. Another request for the same place, because the suggest widget opened. Or only the widget: then this module
   * reports the answer.
   */
  private unwanted(live: Live, askedAt: number): void {
    const isForWidget = Date.now() - askedAt >= WIDGET_MS;
    setTimeout(() => {
      if (this.live !== live || live.typed || live.nWaiting || live.shown.items.length) {
        return;
      }
      if (isForWidget && this.asked.canBeTold()) {
        void live.first.then(() => (live.nWaiting ? undefined : this.pump(live)));
      } else {
        this.drop();
      }
    }, KEY_MS);
  }

  /** Ask the server. Resolves with the first value if the suggestion may grow, else with the last one. */
  private async request(
    client: BaseLanguageClient, live: Live, context: vscode.InlineCompletionContext, grows: boolean,
  ): Promise<void> {
    let isThere = (): void => undefined;
    const first = new Promise<void>((resolve) => { isThere = resolve; });
    const partialResultToken = `ghost-${++this.nRequests}`;
    const progress = client.onProgress(new ProgressType<InlineCompletionList>(), partialResultToken, (value) => {
      if (!live.finished && adds(texts(live.latest), texts(value))) {
        live.latest = value;
        isThere();
        void this.pump(live);
      }
    });
    // The selected entry of the suggest widget is not in the text: the request asks what continues the text.
    const own = { triggerKind: context.triggerKind, selectedCompletionInfo: undefined };
    const params = {
      ...client.code2ProtocolConverter.asInlineCompletionParams(live.document, live.position, own),
      ...(grows ? { partialResultToken } : {}),
    };
    const last = client.sendRequest<InlineCompletionList>(METHOD, params, live.stop.token).then(
      (value) => { live.latest = value; },
      () => undefined, // cancelled, or the server is gone: keep the text so far
    ).finally(() => {
      live.finished = true;
      progress.dispose();
      isThere();
      if (this.live === live && !live.latest.items.length && this.asked.ready()) {
        this.beside.giveUp();
      }
      void this.pump(live);
    });
    await (grows ? first : last);
  }

  /** Show newer values as long as there are any and the cursor is still at the place of the request. */
  private async pump(live: Live): Promise<void> {
    if (live.isPumping || !live.answered) {
      return;
    }
    live.isPumping = true;
    let nIgnored = 0;
    while (this.live === live && nIgnored < MAX_IGNORED && !same(texts(live.shown), texts(live.latest))) {
      if (live.typed || !isInPlace(live, vscode.window.activeTextEditor)) {
        break;
      }
      const before = live.shown;
      this.register();
      await this.ask();
      await new Promise((resolve) => setTimeout(resolve, STEP_MS));
      nIgnored = live.shown === before ? nIgnored + 1 : 0;
    }
    live.isPumping = false;
  }

  /** Make VS Code ask this provider: as after a key, or `explicit`, as if the user triggered it. */
  private async ask(explicit = false): Promise<void> {
    const place = this.triggered = placeOf(vscode.window.activeTextEditor);
    const mine = { providerId: this.extensionId, explicit };
    await vscode.commands.executeCommand('editor.action.inlineSuggest.trigger', mine);
    this.triggered = this.triggered === place ? undefined : this.triggered;
  }

  private answer(live: Live, selected: vscode.SelectedCompletionInfo | undefined): vscode.InlineCompletionItem[] {
    live.shown = live.latest;
    live.selected = selected;
    if (live.answered) {
      void Promise.resolve().then(() => this.pump(live)); // show what has come since the first value
    }
    const items = live.shown.items.map((item) => this.item(item));
    this.outcomes.offered(live.document, live.position, live.shown.items, () => this.live === live);
    this.setOffered(items.length > 0);
    const fitting = selected === undefined ? items : items.flatMap((item) => fitted(item, live, selected));
    if (items[0] !== undefined && !fitting.length) {
      this.drawBeside(live, items[0]);
    } else if (items.length || this.asked.ready()) {
      this.beside.clear();
    }
    return fitting;
  }

  /** Until the widget is gone, draw a suggestion that does not continue its entry: VS Code would not show it. */
  private drawBeside(live: Live, item: vscode.InlineCompletionItem): void {
    const isFirst = !this.beside.isShown;
    const covered = live.document.getText(item.range ?? new vscode.Range(live.position, live.position));
    this.beside.show(live.document, live.position, uncovered(String(item.insertText), covered));
    if (isFirst && this.asked.canBeTold()) {
      void this.ask(); // so that VS Code asks again when the widget is gone, whatever opened it
    }
  }

  /** Mark where a triggered suggestion will appear, unless it is there at once. */
  private showAwaited(live: Live): void {
    setTimeout(() => {
      const isOpen = !live.latest.items.length && !(live.finished && this.asked.ready());
      if (this.live === live && isOpen && isInPlace(live, vscode.window.activeTextEditor)) {
        this.beside.expect(live.document, live.position);
      }
    }, this.asked.ready() ? AWAITED_MS : 0);
  }

  private dismissedIn(document: vscode.TextDocument): Dismissed {
    const there = this.dismissed.get(document) ?? new Dismissed();
    this.dismissed.set(document, there);
    return there;
  }

  private isDismissed(document: vscode.TextDocument, position: vscode.Position): boolean {
    const content = document.lineAt(position.line).text;
    return this.dismissed.get(document)?.holds(position.line, content, position.character) ?? false;
  }

  private item(item: InlineCompletionList['items'][number]): vscode.InlineCompletionItem {
    const converter = this.asked.client()?.protocol2CodeConverter;
    const shown = new vscode.InlineCompletionItem(textOf(item));
    if (converter !== undefined && item.range !== undefined) {
      shown.range = converter.asRange(item.range);
    }
    if (converter !== undefined && item.command !== undefined) {
      shown.command = converter.asCommand(item.command);
    }
    return shown;
  }

  private setOffered(isOffered: boolean): void {
    if (isOffered !== this.isOffered) {
      this.isOffered = isOffered;
      void vscode.commands.executeCommand('setContext', 'midfill.offered', isOffered);
    }
  }
}
