/** The language client: the parts of vscode-languageclient that midfill uses, without its dialogs. */

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
// ghost.ts requests ghost text with midfill's own method; entries in the suggest widget would show suggestions twice.
// session.ts sends only the settings that the user has set; VS Code would also send every default.
const NOT_WANTED: ReadonlySet<string> = new Set([
  InlineCompletionRequest.method, CompletionRequest.method, DidChangeConfigurationNotification.method,
]);

export class Client extends LanguageClient {
  constructor(program: string, options: () => Options, log: vscode.LogOutputChannel, onLost: (why: string) => void) {
    // Not the workspace's folder: no program may have a folder that the user opens on its search path.
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
    (params.capabilities.window ??= {}).workDoneProgress = false; // the status bar item shows progress
    (params.capabilities.workspace ??= {}).configuration = false; // the client sends them, the server does not ask
    params.capabilities.experimental = { midfill: { status: true } };
  }

  // Problems show in the status bar item and in the log: nothing pops up while the user types.
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

/** Register only one of the server's commands, that of the items: the menu has commands with the other names. */
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
