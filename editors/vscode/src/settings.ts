/** From VS Code's settings to the server's. Only what a person set is sent: the rest is for midfill's own file to say. */

/** Settings with the server's own names. Those a workspace may choose do no harm; VS Code keeps it from the others. */
// Written by make settings.
export const OF_THE_WORKSPACE = [
  'enabled', 'eagerness', 'lines', 'adapter', 'maxTokens', 'languagesOff', 'globsOff', 'scopesOff', 'contextOff',
];
export const OF_THE_PERSON = [
  'quietOnBattery', 'model', 'device', 'dtype', 'contextTokens', 'maxDebounceS', 'candidates', 'ahead', 'records',
  'logLevel',
];
// End.
export const SENT = [...OF_THE_WORKSPACE, ...OF_THE_PERSON];

const ADAPTER_NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/;

/** What `WorkspaceConfiguration.inspect` tells of one setting. */
export interface Inspected {
  globalValue?: unknown;
  workspaceValue?: unknown;
}

export type Options = Record<string, unknown>;

/** The server's options, from each setting's values. */
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
    return inspected.globalValue; // an adapter's folder is the person's to name, never the workspace's
  }
  return local;
}

export function isAdapterName(value: unknown): boolean {
  return typeof value === 'string' && ADAPTER_NAME.test(value);
}

/** What to do about other options: nothing, tell the server, or begin anew where one is the server's own choice again. */
export function change(before: Options, after: Options): 'none' | 'tell' | 'restart' {
  if (Object.keys(before).some((name) => !(name in after))) {
    return 'restart';
  }
  return JSON.stringify(before) === JSON.stringify(after) ? 'none' : 'tell';
}

/** A list with `entry` added or taken out. */
export function toggled(list: readonly string[], entry: string): string[] {
  return list.includes(entry) ? list.filter((each) => each !== entry) : [...list, entry];
}
