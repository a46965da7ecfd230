/** The status bar item. */

import * as vscode from 'vscode';
import type { Session } from './session.ts';
import { view } from './status.ts';
import { whyOff } from './switches.ts';
import type { Why } from './why.ts';

const BACKGROUNDS = { plain: undefined, warning: 'statusBarItem.warningBackground', error: 'statusBarItem.errorBackground' };
// A generation that a keystroke ends at once is nothing to look at.
const CALM_MS = 150;

export class Bar implements vscode.Disposable {
  private readonly item = vscode.window.createStatusBarItem('midfill.status', vscode.StatusBarAlignment.Right, 100);
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly session: Session, private readonly why: Why) {
    this.item.name = 'midfill';
    this.item.command = 'midfill.menu';
    this.show();
    this.item.show();
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.item.dispose();
  }

  /** Something changed; between ready and generating it waits a moment. */
  update(): void {
    if (this.timer !== undefined) {
      return;
    }
    const isBusy = this.session.status.state === 'generating' || this.item.text.includes('sync');
    this.timer = setTimeout(() => this.show(), isBusy ? CALM_MS : 0);
  }

  private show(): void {
    this.timer = undefined;
    const off = this.why.of(vscode.window.activeTextEditor?.document) || whyOff();
    const { text, kind, lines } = view(this.session.status, { missing: this.session.missing, off });
    const background = BACKGROUNDS[kind];
    this.item.text = text;
    this.item.backgroundColor = background === undefined ? undefined : new vscode.ThemeColor(background);
    this.item.tooltip = lines.join('\n');
    this.item.accessibilityInformation = { label: lines.join(' '), role: 'button' };
    void vscode.commands.executeCommand('setContext', 'midfill.ready', this.session.isReady);
  }
}
