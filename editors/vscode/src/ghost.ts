/**
 * Ghost text that grows while the model writes it, with VS Code's stable API.
 *
 * A provider of inline completions gives one answer, and VS Code keeps it: it does not ask a provider a second time about
 * the same version and place. But it asks one that it has not asked yet. So the request is answered with the suggestion's
 * first words, and for each later value the provider is registered anew and VS Code is told to ask it. The text on the
 * screen is replaced by the longer one in one step.
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
import { begun, fitted, isAlong, isInPlace, known } from './live.ts';
import type { Outcomes } from './outcomes.ts';

const METHOD = 'midfill/inlineCompletion';
const STEP_MS = 40; // faster growth than this nobody sees
const FOLLOW_MS = 20;
const KEY_MS = 200; // so long after its cancellation the key that was the reason has come, or VS Code has asked again
const WIDGET_MS = 700; // VS Code waits 750 ms for ghost text, then opens the suggest widget and wants none any more
const AWAITED_MS = 300; // asked by hand, an answer that takes longer shows where it will appear
const MAX_IGNORED = 5; // VS Code was told to ask so often and did not: it shows nothing here any more

/** What the provider asks of the extension. */
export interface Asked {
  client(): BaseLanguageClient | undefined;
  /** Whether the engine can answer now. */
  ready(): boolean;
  /** Whether suggestions come unasked. */
  automatic(document: vscode.TextDocument): boolean;
  /** Whether VS Code can be told to ask this provider alone. */
  canBeTold(): boolean;
  /** Whether they are shown while they grow. */
  grows(): boolean;
}

export class GhostText implements vscode.Disposable {
  private registration: vscode.Disposable | undefined;
  private live: Live | undefined;
  private nRequests = 0;
  private isOffered = false;
  /** Where nothing came, perhaps because there was no engine. */
  private missed: Pick<Live, 'document' | 'version' | 'position' | 'byHand'> | undefined;
  private readonly beside = new Beside();
  private readonly dismissed = new WeakMap<vscode.TextDocument, Dismissed>();
  private readonly listeners: vscode.Disposable[];

  constructor(private readonly asked: Asked, private readonly outcomes: Outcomes, private readonly extensionId: string) {
    this.register();
    this.listeners = [
      // After its first answer VS Code's token says nothing any more: the next edit or move ends the request.
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

  /** Hide what is shown, let no more of it come, and keep it away while it is only typed along. */
  async dismiss(): Promise<void> {
    const [live, editor] = [this.live, vscode.window.activeTextEditor];
    this.drop();
    await vscode.commands.executeCommand('editor.action.inlineSuggest.hide');
    const position = editor?.selection.active;
    if (live === undefined || position === undefined || !isAlong(live, editor!.document, position)) {
      return;
    }
    const text = known(live).slice(live.typed.length);
    if (text) {
      const content = live.document.lineAt(position.line).text;
      this.dismissedIn(live.document).add(position.line, content, position.character, text);
      this.outcomes.dismissed(live.document, position, text);
    }
  }

  /** The engine is ready: ask again where it could not answer, if the cursor still rests there. */
  async retry(): Promise<void> {
    const [missed, editor] = [this.missed, vscode.window.activeTextEditor];
    this.missed = undefined;
    if (missed !== undefined && isInPlace(missed, editor)) {
      this.register(); // VS Code asks a provider once about a place
      await this.ask(missed.byHand);
    }
  }

  /** The engine will not answer: nothing is awaited any more. */
  giveUp(): void {
    this.beside.giveUp();
  }

  /**
   * Take the next line, and the indentation of the one after it. VS Code's own command would stop at a bracket in the
   * middle of the suggestion; it is asked where it is not known which candidate it shows.
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

  /** Another request comes. If it goes on with the one before, the server must hear of it first. */
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

  /** What types along goes on growing: VS Code asks for the rest when the keys pause. Anything else ends it. */
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
    const byHand = context.triggerKind === vscode.InlineCompletionTriggerKind.Invoke;
    const before = this.live;
    const isThere =
      before?.document === document && before.version === document.version && before.position.isEqual(position);
    if (isThere && !before.stop.token.isCancellationRequested && (before.byHand || !byHand)) {
      if (!before.answered) {
        return this.follows(before, context, token);
      }
      if (before.latest.items.length) {
        return this.answer(before, context.selectedCompletionInfo);
      }
    }
    if (!byHand && (!this.asked.automatic(document) || this.isDismissed(document, position))) {
      this.drop();
      return [];
    }
    if (byHand) {
      this.dismissed.get(document)?.forget(position.line);
    }
    this.follow();
    const isNext = before?.typed && isAlong(before, document, position);
    const live = begun(document, position, byHand, isNext ? known(before).slice(before.typed.length) : '');
    this.live = this.missed = live;
    const client = this.asked.client();
    if (byHand) {
      this.showAwaited(live);
    }
    if (client === undefined) {
      live.stop.cancel(); // nothing to wait for: it is asked anew
      return [];
    }
    // Asked for more while one stands there: nothing new is shown before all of them are there.
    const isForMore = isThere && before.shown.items.length > 0;
    live.first = this.request(client, live, context, this.asked.grows() && !isForMore).then(() => {
      live.answered = true;
    });
    return this.follows(live, context, token);
  }

  /** Answer one of VS Code's questions about a place with what comes first. */
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
   * VS Code does not wait any more: for a key, and one that types along what is to come leaves it growing; for another
   * question about the same place, as the suggest widget opened; or for the widget alone, and then the answer is told by us.
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

  /** Ask the server. Done with the first value, where it may grow, else with the last one. */
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
    // The entry that the suggest widget has selected is nothing that stands there: what is asked for goes on with the text.
    const own = { triggerKind: context.triggerKind, selectedCompletionInfo: undefined };
    const params = {
      ...client.code2ProtocolConverter.asInlineCompletionParams(live.document, live.position, own),
      ...(grows ? { partialResultToken } : {}),
    };
    const last = client.sendRequest<InlineCompletionList>(METHOD, params, live.stop.token).then(
      (value) => { live.latest = value; },
      () => undefined, // cancelled, or the server is gone: what stands is what there is
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

  /** Show the latest value, as long as there is a newer one and the cursor stands where it was asked for. */
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

  /** Have VS Code ask this provider: as if something was typed, or as a person would. */
  private ask(explicit = false): Thenable<unknown> {
    const mine = { providerId: this.extensionId, explicit };
    return vscode.commands.executeCommand('editor.action.inlineSuggest.trigger', mine);
  }

  private answer(live: Live, selected: vscode.SelectedCompletionInfo | undefined): vscode.InlineCompletionItem[] {
    live.shown = live.latest;
    live.selected = selected;
    if (live.answered) {
      void Promise.resolve().then(() => this.pump(live)); // what came between the first value and now
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

  /** VS Code shows nothing that does not go on with the selected entry: it is drawn here until the widget is gone. */
  private drawBeside(live: Live, item: vscode.InlineCompletionItem): void {
    const isFirst = !this.beside.isShown;
    const covered = live.document.getText(item.range ?? new vscode.Range(live.position, live.position));
    this.beside.show(live.document, live.position, uncovered(String(item.insertText), covered));
    if (isFirst && this.asked.canBeTold()) {
      void this.ask(); // so that VS Code asks again when the widget is gone, whatever opened it
    }
  }

  /** Asked by hand: where it will appear, unless it is there at once. */
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
