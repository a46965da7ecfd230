/** From VS Code's settings to the server's. Only what the user has set is sent: midfill's own file decides the rest. */

/** The settings by the server's names. Those that a workspace may set do no harm; VS Code refuses it the others. */
// Written by make settings.
export const OF_THE_WORKSPACE = [
  'enabled', 'eagerness', 'lines', 'adapter', 'maxTokens', 'disabledLanguages', 'disabledFiles', 'disabledScopes',
  'disabledContext',
];
export const OF_THE_PERSON = [
  'quietOnBattery', 'model', 'device', 'dtype', 'contextTokens', 'maxDebounceS', 'candidates', 'ahead', 'records',
  'logLevel',
];
// End.
export const SENT = [...OF_THE_WORKSPACE, ...OF_THE_PERSON];

const ADAPTER_NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/; // of each adapter in a sum

/** What `WorkspaceConfiguration.inspect` returns for one setting. */
export interface Inspected {
  globalValue?: unknown;
  workspaceValue?: unknown;
}

export type Options = Record<string, unknown>;

/** Return the server's options from the values of each setting. */
export function options(inspect: (name: string) => Inspected | undefined): Options {
  const chosen: Options = {};
  for (const name of SENT) {
    const value = valueOf(name, inspect(name) ?? {});
    if (value !== undefined) {
      chosen[name] = value;
    }
  }
  return chosen;
}

function valueOf(name: string, inspected: Inspected): unknown {
  const local = OF_THE_WORKSPACE.includes(name) ? inspected.workspaceValue : undefined;
  if (local === undefined || (name === 'adapter' && !isAdapterName(local))) {
    return inspected.globalValue; // only the user may name an adapter's folder, never the workspace
  }
  return local;
}

export function isAdapterName(value: unknown): boolean {
  return typeof value === 'string' && value.split('+').every((name) => ADAPTER_NAME.test(name.trim()));
}

/** Return what changed options need: nothing, a message, or a restart if the server must use its own value again. */
export function change(before: Options, after: Options): 'none' | 'tell' | 'restart' {
  if (Object.keys(before).some((name) => !(name in after))) {
    return 'restart';
  }
  return JSON.stringify(before) === JSON.stringify(after) ? 'none' : 'tell';
}

/** Return the list with `entry` added, or removed if it was there. */
export function toggled(list: readonly string[], entry: string): string[] {
  return list.includes(entry) ? list.filter((each) => each !== entry) : [...list, entry];
}
