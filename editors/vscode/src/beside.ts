/**
 * Text beside the cursor that VS Code does not draw by itself: a suggestion while the suggest widget has another entry
 * selected (VS Code shows only what continues that entry), and a mark where a triggered suggestion will appear.
 */

import * as vscode from 'vscode';

const AWAITED = '…';

export class Beside implements vscode.Disposable {
  private readonly type = vscode.window.createTextEditorDecorationType({
    rangeBehavior: vscode.DecorationRangeBehavior.ClosedClosed,
  });
  private editor: vscode.TextEditor | undefined;
  private awaited = false;

  dispose(): void {
    this.type.dispose();
  }

  get isShown(): boolean {
    return this.editor !== undefined && !this.awaited;
  }

  /** Draw the first line of `text` at `position` of the active editor, instead of what was drawn before. */
  show(document: vscode.TextDocument, position: vscode.Position, text: string): void {
    const editor = vscode.window.activeTextEditor;
    const [first = '', ...others] = text.split(/\r?\n/);
    const line = first + (others.length ? (first ? ' …' : AWAITED) : '');
    if (editor?.document !== document || !line) {
      this.clear();
      return;
    }
    if (this.editor !== editor) {
      this.clear();
    }
    this.editor = editor;
    this.awaited = false;
    const color = new vscode.ThemeColor('editorGhostText.foreground');
    const after = { contentText: line.replaceAll(' ', '\u00a0').replaceAll('\t', '\u00a0\u00a0'), color };
    editor.setDecorations(this.type, [{ range: new vscode.Range(position, position), renderOptions: { after } }]);
  }

  /** Show where a suggestion will appear. */
  expect(document: vscode.TextDocument, position: vscode.Position): void {
    this.show(document, position, AWAITED);
    this.awaited = this.editor !== undefined;
  }

  /** Remove the mark: no suggestion will come. */
  giveUp(): void {
    if (this.awaited) {
      this.clear();
    }
  }

  clear(): void {
    this.editor?.setDecorations(this.type, []);
    this.editor = undefined;
    this.awaited = false;
  }
}
