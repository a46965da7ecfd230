/** The language server of this window: finds and starts it, follows its status, and sends it the settings. */

import * as fs from 'node:fs';
import * as os from 'node:os';
import * as vscode from 'vscode';
import { Client } from './client.ts';
import type { Found, Machine } from './find.ts';
import { find } from './find.ts';
import type { Options } from './settings.ts';
import { change, options } from './settings.ts';
import type { ServerStatus } from './status.ts';
import { STARTING, isReady } from './status.ts';
import { settings } from './switches.ts';

export const MACHINE: Machine = {
  env: process.env,
  home: os.homedir(),
  platform: process.platform,
  isProgram: (file) => {
    try {
      fs.accessSync(file, fs.constants.X_OK);
      return fs.statSync(file).isFile();
    } catch {
      return false;
    }
  },
};

export function folders(): string[] {
  return (vscode.workspace.workspaceFolders ?? []).filter(({ uri }) => uri.scheme === 'file').map(({ uri }) => uri.fsPath);
}

export class Session implements vscode.Disposable {
  status: ServerStatus = STARTING;
  /** Why there is no server; "" if there is one. */
  missing = '';
  found: Found | undefined;
  private running: Client | undefined;
  private sent: Options = {};
  private work: Promise<void> = Promise.resolve();
  private readonly changes = new vscode.EventEmitter<void>();
  readonly onChange = this.changes.event;
  private snoozedUntil = 0;
  private readonly readies = new vscode.EventEmitter<void>();
  /** Fires when the engine can answer and could not before. */
  readonly onReady = this.readies.event;

  constructor(private readonly log: vscode.LogOutputChannel) {}

  /** Return the client if it is running. */
  client = (): Client | undefined => (this.running?.isRunning() ? this.running : undefined);

  /** Whether the engine can answer. */
  get isReady(): boolean {
    return !this.missing && isReady(this.status);
  }

  /** Seconds until automatic suggestions come again. */
  get snoozedS(): number {
    return Math.max(0, (this.snoozedUntil - Date.now()) / 1000);
  }

  dispose(): void {
    this.changes.dispose();
    this.readies.dispose();
  }

  /** Find midfill and start it; a running one is stopped. Several calls run one after another. */
  start(): Promise<void> {
    this.work = this.work.then(() => this.restart()).catch((error: unknown) => this.lost(String(error)));
    return this.work;
  }

  /** Start the server if it was missing and has been found. */
  async startIfMissing(): Promise<void> {
    if (this.missing && this.look().program !== undefined) {
      await this.start();
    }
  }

  async stop(): Promise<void> {
    const client = this.running;
    this.running = undefined;
    await client?.stop().catch(() => undefined); // it may have stopped already
  }

  /** Apply changed settings. */
  async configure(): Promise<void> {
    const next = this.options();
    const what = change(this.sent, next);
    if (what === 'restart' || this.hasMoved()) {
      await this.start();
    } else if (what === 'tell') {
      this.sent = next;
      await this.client()?.sendNotification('workspace/didChangeConfiguration', { settings: { midfill: next } });
    }
  }

  /** Whether another program would be started now. */
  hasMoved(): boolean {
    return this.look().program !== this.found?.program;
  }

  private look() {
    return find(settings().get<string>('path', ''), folders(), vscode.workspace.isTrusted, MACHINE);
  }

  private options(): Options {
    return options((name) => settings().inspect(name));
  }

  private async restart(): Promise<void> {
    await this.stop();
    const found = this.look();
    this.status = STARTING;
    this.missing = found.program === undefined ? found.why : '';
    this.found = found.program === undefined ? undefined : found;
    this.changes.fire();
    if (found.program === undefined) {
      this.log.warn(found.why);
      return;
    }
    this.log.info(`starting ${found.program} (${found.origin})`);
    const client = new Client(found.program, () => (this.sent = this.options()), this.log, (why) => this.lost(why));
    this.running = client;
    client.onNotification('midfill/status', (status: ServerStatus) => {
      if (this.running === client) {
        this.follow(status);
      }
    });
    await client.start();
    this.changes.fire(); // it answers requests now
    if (this.isReady) {
      this.readies.fire();
    }
  }

  private follow(status: ServerStatus): void {
    const wasReady = this.isReady;
    this.status = status;
    this.snoozedUntil = Date.now() + (status.snoozed_s ?? 0) * 1000;
    this.changes.fire();
    if (this.isReady && !wasReady && this.client() !== undefined) {
      this.readies.fire();
    }
  }

  private lost(why: string): void {
    if (why) {
      this.log.error(why);
    }
    const remedy = 'Choose "Restart" or "Run doctor" in the menu.';
    this.follow(why ? { ...STARTING, state: 'error', message: why, remedy } : STARTING);
  }
}
