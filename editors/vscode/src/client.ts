/** The language client: everything of vscode-languageclient's that midfill uses, and none of its dialogs. */

import type {
  DynamicFeature, ExecuteCommandRegistrationOptions, InitializeParams, LanguageClientOptions, StaticFeature,
} from 'vscode-languageclient/node';
import {
  CloseAction, CompletionRequest, DidChangeConfigurationNotification, ErrorAction, ExecuteCommandRequest, InlineCompletionRequest,
  LanguageClient, RevealOutputChannelOn, TransportKind,
} from 'vscode-languageclient/node';
import * as os from 'node:os';
import * as vscode from 'vscode';
import type { Options } from './settings.ts';

export const SELECTOR = [{ scheme: 'file' }, { scheme: 'untitled' }, { scheme: 'vscode-notebook-cell' }];

const ACCEPTED = 'midfill.accepted';
const MAX_RESTARTS = 5;
const RESTARTS_WITHIN_MS = 180_000;
// Ghost text is asked for with midfill's own request (ghost.ts); a second list in the suggest widget would say it twice.
// Settings are sent by session.ts, and only those that a person set: VS Code would send every default as well.
const NOT_WANTED: ReadonlySet<string> = new Set([
  InlineCompletionRequest.method, CompletionRequest.method, DidChangeConfigurationNotification.method,
]);

export class Client extends LanguageClient {
  constructor(program: string, options: () => Options, log: vscode.LogOutputChannel, onLost: (why: string) => void) {
    // Not in the workspace's folder: what a person opens must not lie on any program's search path.
    const server = { command: program, args: ['lsp'], transport: TransportKind.stdio, options: { cwd: os.homedir() } };
    super('midfill', 'midfill', server, clientOptions(options, log, onLost));
  }

  override registerFeature(feature: StaticFeature | DynamicFeature<unknown>): void {
    if ('registrationType' in feature && feature.registrationType.method === ExecuteCommandRequest.method) {
      acceptedOnly(feature as DynamicFeature<ExecuteCommandRegistrationOptions>);
    }
    if (!('registrationType' in feature) || !NOT_WANTED.has(feature.registrationType.method)) {
      super.registerFeature(feature);
    }
  }

  protected override fillInitializeParams(params: InitializeParams): void {
    super.fillInitializeParams(params);
    (params.capabilities.window ??= {}).workDoneProgress = false; // the status bar item shows it
    (params.capabilities.workspace ??= {}).configuration = false; // settings are sent, not asked for
    params.capabilities.experimental = { midfill: { status: true } };
  }

  // Trouble shows in the status bar item and in the log: nothing pops up while someone types.
  override error(message: string, data?: unknown): void {
    super.error(message, data, false);
  }

  override warn(message: string, data?: unknown): void {
    super.warn(message, data, false);
  }

  override info(message: string, data?: unknown): void {
    super.info(message, data, false);
  }
}

/** Of the server's commands only the items' own becomes one of VS Code's: the others' names are the menu's here. */
function acceptedOnly(feature: DynamicFeature<ExecuteCommandRegistrationOptions>): void {
  const register = feature.register.bind(feature);
  feature.register = ({ id, registerOptions }) => {
    const commands = registerOptions.commands.filter((command) => command === ACCEPTED);
    register({ id, registerOptions: { ...registerOptions, commands } });
  };
}

function clientOptions(
  options: () => Options, log: vscode.LogOutputChannel, onLost: (why: string) => void,
): LanguageClientOptions {
  const restarts: number[] = [];
  return {
    documentSelector: SELECTOR,
    initializationOptions: options,
    outputChannel: log,
    revealOutputChannelOn: RevealOutputChannelOn.Never,
    initializationFailedHandler: () => false,
    errorHandler: {
      error: () => ({ action: ErrorAction.Continue, handled: true }),
      closed: () => {
        const now = Date.now();
        restarts.push(now);
        const isHopeless = restarts.filter((at) => now - at < RESTARTS_WITHIN_MS).length > MAX_RESTARTS;
        onLost(isHopeless ? 'the language server stopped again and again' : '');
        return { action: isHopeless ? CloseAction.DoNotRestart : CloseAction.Restart, handled: true };
      },
    },
  };
}
