/** What other language servers say a name is: where it, or its class, is defined, and its hover's text. */

import * as vscode from 'vscode';

const MAX_TARGETS = 3;
const MAX_HOVER = 4000;

type Place = vscode.Location | vscode.LocationLink;
export type Resolved = { targets: { uri: vscode.Uri; range: vscode.Range }[]; hover: string };

/** Return what the name at a position is; `ofType`: what its class is. */
export async function definitionAt(uri: vscode.Uri, at: vscode.Position, ofType: boolean): Promise<Resolved> {
  const which = ofType ? 'vscode.executeTypeDefinitionProvider' : 'vscode.executeDefinitionProvider';
  const [places, hovers] = await Promise.all([
    ask<Place[]>(which, uri, at), ask<vscode.Hover[]>('vscode.executeHoverProvider', uri, at),
  ]);
  const targets = (places ?? []).slice(0, MAX_TARGETS).map((one) => 'targetUri' in one
    ? { uri: one.targetUri, range: one.targetSelectionRange ?? one.targetRange }
    : { uri: one.uri, range: one.range });
  const texts = (hovers ?? []).flatMap(({ contents }) => contents.map((one) => typeof one === 'string' ? one : one.value));
  return { targets, hover: texts.join('\n\n').slice(0, MAX_HOVER) };
}

async function ask<T>(command: string, uri: vscode.Uri, at: vscode.Position): Promise<T | undefined> {
  try {
    return await vscode.commands.executeCommand<T>(command, uri, at);
  } catch {
    return undefined; // an error in another extension
  }
}
