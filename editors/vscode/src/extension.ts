/** midfill in VS Code: ghost text, the status bar item with its menu, and the language server behind them. */

import * as vscode from 'vscode';
import { Bar } from './bar.ts';
import { chooseAdapter, chooseModel, snooze, turn } from './choices.ts';
import { Diagnostics } from './diagnostics.ts';
import { Focus } from './focus.ts';
import { GhostText } from './ghost.ts';
import { inTerminal, install, quoted, watch } from './install.ts';
import { menu } from './menu.ts';
import { Names } from './names.ts';
import { Outcomes } from './outcomes.ts';
import { Reports } from './reports.ts';
import { Session } from './session.ts';
import * as switches from './switches.ts';
import { GROWS_SINCE, isAtLeast } from './versions.ts';
import { Why } from './why.ts';

let session: Session | undefined;

export function activate(context: vscode.ExtensionContext): void {
  const log = vscode.window.createOutputChannel('midfill', { log: true });
  switches.keepIn(context.workspaceState);
  const own = session = new Session(log);
  const why = new Why(own);
  const bar = new Bar(own, why);
  const reports = new Reports(own);
  const onSeen = (): unknown => vscode.commands.executeCommand('setContext', 'midfill.shown', true);
  const outcomes = new Outcomes(own.client, onSeen);
  const asked = {
    client: own.client,
    ready: () => own.isReady,
    automatic: (document: vscode.TextDocument) => !switches.whyOff(document),
    canBeTold: () => isAtLeast(vscode.version, GROWS_SINCE),
    grows: () => switches.settings().get<boolean>('grow', true) && isAtLeast(vscode.version, GROWS_SINCE),
  };
  const ghost = new GhostText(asked, outcomes, context.extension.id.toLowerCase());
  const focus = new Focus(own.client);
  const given = { own, why, bar, reports, ghost, log, context };
  context.subscriptions.push(log, own, why, bar, reports.register(), outcomes, ghost, focus, ...commands(given));
  const diagnostics = new Diagnostics(own.client);
  context.subscriptions.push(new Names(own.client), diagnostics);
  const here = (): void => {
    bar.update();
    void why.ask(vscode.window.activeTextEditor?.document);
  };
  context.subscriptions.push(
    own.onReady(() => {
      focus.soon(0);
      diagnostics.soon();
      void ghost.retry();
    }),
    own.onChange(() => own.status.state === 'error' && ghost.giveUp()),
    own.onChange(() => (own.status.state === 'generating' ? bar.update() : here())),
    why.onChange(() => bar.update()),
    vscode.window.onDidChangeActiveTextEditor(here),
    vscode.workspace.onDidOpenTextDocument(here), // also when the language mode changes
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration('midfill')) {
        bar.update();
        void own.configure().then(here);
      }
    }),
    vscode.workspace.onDidGrantWorkspaceTrust(() => void (own.hasMoved() ? own.start() : own.configure())),
    vscode.workspace.onDidChangeWorkspaceFolders(() => void own.configure()),
    // The user may have installed midfill meanwhile.
    vscode.window.onDidChangeWindowState(({ focused }) => void (focused && own.startIfMissing())),
    watch(() => void own.startIfMissing()),
  );
  const isFirst = context.globalState.get('welcomed') === undefined;
  void context.globalState.update('welcomed', true);
  if (isFirst) {
    welcome();
  }
  void own.start().then(() => (isFirst ? offer(own) : undefined));
}

export async function deactivate(): Promise<void> {
  await session?.stop();
}

interface Given {
  own: Session;
  why: Why;
  bar: Bar;
  reports: Reports;
  ghost: GhostText;
  log: vscode.LogOutputChannel;
  context: vscode.ExtensionContext;
}

function commands({ own, why, bar, reports, ghost, log, context }: Given): vscode.Disposable[] {
  const run = (command: string, ...given: unknown[]): Thenable<unknown> => vscode.commands.executeCommand(command, ...given);
  const here = (): vscode.TextDocument | undefined => vscode.window.activeTextEditor?.document;
  const inDocument = (work: (document: vscode.TextDocument) => unknown): unknown => {
    const document = here();
    return document === undefined ? undefined : work(document);
  };
  const handlers: Record<string, (given?: unknown) => unknown> = {
    menu: () => menu(own, why, here()),
    trigger: () => run('editor.action.inlineSuggest.trigger'),
    acceptLine: () => ghost.acceptLine(),
    dismiss: () => ghost.dismiss(),
    toggle: switches.toggleEverywhere,
    toggleWorkspace: switches.toggleWorkspace,
    toggleLanguage: async () => {
      const told = await why.ask(here());
      return told?.language ? switches.toggleLanguage(told) : undefined;
    },
    toggleFile: () => inDocument(async (document) => {
      await switches.toggleFile(document);
      ghost.drop();
      bar.update();
    }),
    chooseAdapter: () => chooseAdapter(reports),
    chooseModel: () => chooseModel(own),
    chooseEagerness: () => turn(own, 'eagerness'),
    chooseLines: () => turn(own, 'lines'),
    snooze: (minutes) => snooze(own, minutes),
    explain: () => reports.explain(here()),
    statistics: () => reports.statistics(),
    showLog: () => log.show(),
    doctor: () => (own.found === undefined ? install() : inTerminal(`${quoted(own.found.program)} doctor`, true)),
    install,
    restart: () => own.start(),
    settings: () => run('workbench.action.openSettings', '@ext:midfill.midfill'),
    walkthrough: () => run('workbench.action.openWalkthrough', `${context.extension.id}#start`, false),
  };
  return Object.entries(handlers).map(([name, handler]) => vscode.commands.registerCommand(`midfill.${name}`, handler));
}

/** Open the walkthrough, once, before the user types. */
function welcome(): void {
  const mayOpen = vscode.workspace.getConfiguration('workbench').get<boolean>('welcomePage.walkthroughs.openOnInstall', true);
  if (mayOpen) {
    void vscode.commands.executeCommand('midfill.walkthrough');
  }
}

/** If midfill is missing, offer to install it, once, in a notification without focus. Later the status bar says it. */
async function offer(own: Session): Promise<void> {
  const text = 'midfill needs its language server, which is not installed.';
  if (own.missing && (await vscode.window.showInformationMessage(text, 'Install...', 'Not now')) === 'Install...') {
    await install();
  }
}
