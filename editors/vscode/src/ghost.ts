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
import { SELECTOR } from './client.ts';
import { adds, leadsOn, same, textOf, texts, typedPiece } from './growth.ts';
import type { Live } from './live.ts';
import { begun, isAlong, isInPlace, known } from './live.ts';
import type { Outcomes } from './outcomes.ts';

const METHOD = 'midfill/inlineCompletion';
const STEP_MS = 40; // faster growth than this nobody sees
const FOLLOW_MS = 20;
const KEY_MS = 100; // so long after its cancellation the key that was the reason has come
const MAX_IGNORED = 5; // VS Code was told to ask so often and did not: it shows nothing here any more

/** What the provider asks of the extension. */
export interface Asked {
  client(): BaseLanguageClient | undefined;
  /** Whether suggestions come unasked. */
  automatic(): boolean;
  /** Whether they are shown while they grow. */
  grows(): boolean;
}

export class GhostText implements vscode.Disposable {
  private registration: vscode.Disposable | undefined;
  private live: Live | undefined;
  private nRequests = 0;
  private isGrowing = false;
  private readonly listeners: vscode.Disposable[];

  constructor(private readonly asked: Asked, private readonly outcomes: Outcomes, private readonly extensionId: string) {
    this.register();
    this.listeners = [
      // After its first answer VS Code's token says nothing any more: the next edit or move ends the request.
      vscode.workspace.onDidChangeTextDocument((event) => this.changed(event)),
      vscode.window.onDidChangeTextEditorSelection((event) => this.moved(event)),
      vscode.window.onDidChangeActiveTextEditor(() => this.drop()),
    ];
  }

  dispose(): void {
    this.drop();
    this.registration?.dispose();
    this.listeners.forEach((listener) => listener.dispose());
  }

  /** Hide what is shown, and let no more of it come. */
  async dismiss(): Promise<void> {
    this.drop();
    await vscode.commands.executeCommand('editor.action.inlineSuggest.hide');
  }

  /**
   * Take the next line, and the indentation of the one after it. VS Code's own command would stop at a bracket in the
   * middle of the suggestion; it is asked where it is not known which candidate it shows.
   */
  async acceptLine(): Promise<void> {
    const [editor, live] = [vscode.window.activeTextEditor, this.live];
    const [item, ...others] = live?.shown.items ?? [];
    const line = item === undefined ? undefined : /^[^\n]*\n[ \t]*/.exec(textOf(item))?.[0];
    const isKnown = live !== undefined && !others.length && !live.selected && isInPlace(live, editor);
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
    this.setGrowing(false);
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
    const live = this.live;
    if (live?.document !== event.document || live.version === event.document.version || !event.contentChanges.length) {
      return;
    }
    const [change, ...others] = event.contentChanges;
    const offset = event.document.offsetAt(live.position) + live.typed.length;
    const piece = change === undefined || others.length ? '' : typedPiece(change, offset);
    live.typed += piece;
    if (!piece || !leadsOn(known(live), live.typed)) {
      this.drop();
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
    const info = context.selectedCompletionInfo;
    const selected = info === undefined ? '' : JSON.stringify([info.range, info.text]);
    const before = this.live;
    const isThere =
      before?.document === document && before.version === document.version &&
      before.position.isEqual(position) && before.selected === selected;
    if (isThere && before.answered && before.latest.items.length && (before.byHand || !byHand)) {
      return this.answer(before);
    }
    const client = this.asked.client();
    if (client === undefined || (!byHand && !this.asked.automatic())) {
      return [];
    }
    this.follow();
    const isNext = before?.typed && isAlong(before, document, position);
    const live = begun(document, position, selected, byHand, isNext ? known(before).slice(before.typed.length) : '');
    this.live = live;
    const early = token.onCancellationRequested(() => this.unwanted(live));
    // Asked for more while one stands there: nothing new is shown before all of them are there.
    const isForMore = isThere && before.shown.items.length > 0;
    await this.request(client, live, context, this.asked.grows() && !isForMore);
    early.dispose();
    live.answered = true;
    if (this.live !== live) {
      return [];
    }
    if (token.isCancellationRequested) {
      if (!live.typed) {
        this.drop();
      }
      return [];
    }
    this.setGrowing(!live.finished);
    return this.answer(live);
  }

  /** VS Code does not wait any more. If that is for a key that types along what is to come, the server goes on. */
  private unwanted(live: Live): void {
    if (!live.expected) {
      live.stop.cancel();
      return;
    }
    setTimeout(() => {
      if (!live.answered && !live.typed) {
        live.stop.cancel();
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
    const params = {
      ...client.code2ProtocolConverter.asInlineCompletionParams(live.document, live.position, context),
      ...(grows ? { partialResultToken } : {}),
    };
    const last = client.sendRequest<InlineCompletionList>(METHOD, params, live.stop.token).then(
      (value) => { live.latest = value; },
      () => undefined, // cancelled, or the server is gone: what stands is what there is
    ).finally(() => {
      live.finished = true;
      progress.dispose();
      isThere();
      if (this.live === live) {
        this.setGrowing(false);
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

  /** Have VS Code ask this provider, as if something was typed. */
  private ask(): Thenable<unknown> {
    const mine = { providerId: this.extensionId, explicit: false };
    return vscode.commands.executeCommand('editor.action.inlineSuggest.trigger', mine);
  }

  private answer(live: Live): vscode.InlineCompletionItem[] {
    live.shown = live.latest;
    if (live.answered) {
      void Promise.resolve().then(() => this.pump(live)); // what came between the first value and now
    }
    const items = live.shown.items.map((item) => this.item(item));
    this.outcomes.offered(live.document, live.position, live.shown.items, () => this.live === live);
    return items;
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

  private setGrowing(isGrowing: boolean): void {
    if (isGrowing !== this.isGrowing) {
      this.isGrowing = isGrowing;
      void vscode.commands.executeCommand('setContext', 'midfill.growing', isGrowing);
    }
  }
}
