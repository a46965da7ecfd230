/** The status bar item. */

import * as vscode from 'vscode';
import type { Session } from './session.ts';
import { view } from './status.ts';
import { whyOff } from './switches.ts';
import type { Why } from './why.ts';

const BACKGROUNDS = { plain: undefined, warning: 'statusBarItem.warningBackground', error: 'statusBarItem.errorBackground' };
// A generation that the next keystroke ends at once is not worth showing.
const CALM_MS = 150;
const MINUTE_MS = 60_000;

export class Bar implements vscode.Disposable {
  private readonly item = vscode.window.createStatusBarItem('midfill.status', vscode.StatusBarAlignment.Right, 100);
  private timer: NodeJS.Timeout | undefined;
  private clock: NodeJS.Timeout | undefined;

  constructor(private readonly session: Session, private readonly why: Why) {
    this.item.name = 'midfill';
    this.item.command = 'midfill.menu';
    this.show();
    this.item.show();
  }

  dispose(): void {
    clearTimeout(this.timer);
    clearTimeout(this.clock);
    this.item.dispose();
  }

  /** Redraw the item; a change between ready and generating waits a moment. */
  update(): void {
    if (this.timer !== undefined) {
      return;
    }
    const isBusy = this.session.status.state === 'generating' || this.item.text.includes('sync');
    this.timer = setTimeout(() => this.show(), isBusy ? CALM_MS : 0);
  }

  private show(): void {
    this.timer = undefined;
    const document = vscode.window.activeTextEditor?.document;
    const { missing, snoozedS } = this.session;
    const off = this.why.of(document) || whyOff(document);
    const { text, kind, lines } = view(this.session.status, { missing, off, snoozedS });
    const background = BACKGROUNDS[kind];
    this.item.text = text;
    this.item.backgroundColor = background === undefined ? undefined : new vscode.ThemeColor(background);
    this.item.tooltip = lines.join('\n');
    this.item.accessibilityInformation = { label: lines.join(' '), role: 'button' };
    if (snoozedS > 0) {
      clearTimeout(this.clock);
      this.clock = setTimeout(() => this.update(), (snoozedS * 1000) % MINUTE_MS + 100); // at the next full minute
    }
    void vscode.commands.executeCommand('setContext', 'midfill.ready', this.session.isReady);
  }
}
