/** Finds `midfill`: in the setting, a trusted workspace's virtual environment, PATH, and the folders of uv and pipx. */

import * as path from 'node:path';

/** What the search needs to know about the machine. */
export interface Machine {
  env: Readonly<Record<string, string | undefined>>;
  home: string;
  platform: NodeJS.Platform;
  isProgram(file: string): boolean;
}

export interface Found {
  program: string;
  origin: 'setting' | 'workspace' | 'PATH' | 'tools';
}

export interface Missing {
  program: undefined;
  /** The reason, in words for the user. */
  why: string;
}

/**
 * Return the program to start, or why there is none. `folders` are the workspace's. A repository may hold a program of
 * that name, so they count only if the user trusts them, and otherwise nothing that PATH finds inside them counts.
 */
export function find(setting: string, folders: readonly string[], trusted: boolean, machine: Machine): Found | Missing {
  const { join, isAbsolute } = pathsOf(machine);
  if (setting.trim()) {
    const program = setting.trim().replace(/^~(?=[\\/])/, () => machine.home);
    if (!isAbsolute(program)) {
      return { program: undefined, why: 'the setting midfill.path is not an absolute path' };
    }
    return machine.isProgram(program)
      ? { program, origin: 'setting' }
      : { program: undefined, why: `the setting midfill.path names ${program}, which is not a program` };
  }
  const name = machine.platform === 'win32' ? 'midfill.exe' : 'midfill';
  const places: [Found['origin'], string[]][] = [
    ['workspace', trusted ? folders.flatMap((folder) => environments(folder, machine)) : []],
    ['PATH', searchPath(machine).filter((folder) => trusted || !folders.some((root) => contains(root, folder, machine)))],
    ['tools', toolFolders(machine)],
  ];
  for (const [origin, candidates] of places) {
    const folder = candidates.find((candidate) => machine.isProgram(join(candidate, name)));
    if (folder !== undefined) {
      return { program: join(folder, name), origin };
    }
  }
  return { program: undefined, why: 'the midfill language server was not found' };
}

/** Whether PATH has an installer of that name outside the workspace's folders. */
export function onPath(name: string, folders: readonly string[], machine: Machine): boolean {
  const file = machine.platform === 'win32' ? `${name}.exe` : name;
  return searchPath(machine).some(
    (folder) => !folders.some((root) => contains(root, folder, machine)) && machine.isProgram(pathsOf(machine).join(folder, file)),
  );
}

/**
 * Return how to call an installer, or "" if it is missing: its name if it is on PATH, else its path in a folder that
 * installers use. An editor that was not started from a shell often lacks those folders on its PATH.
 */
export function installer(name: string, folders: readonly string[], machine: Machine): string {
  if (onPath(name, folders, machine)) {
    return name;
  }
  const { join, isAbsolute } = pathsOf(machine);
  const { env, home } = machine;
  const file = machine.platform === 'win32' ? `${name}.exe` : name;
  const places = [env['UV_INSTALL_DIR'], env['XDG_BIN_HOME'], join(home, '.local', 'bin'), join(home, '.cargo', 'bin')];
  const own = places.filter((folder): folder is string => folder !== undefined && isAbsolute(folder));
  return own.map((folder) => join(folder, file)).find((program) => machine.isProgram(program)) ?? '';
}

function pathsOf(machine: Machine): path.PlatformPath {
  return machine.platform === 'win32' ? path.win32 : path.posix;
}

/** Return the folders of PATH, without relative ones: those depend on the folder that the editor was started in. */
function searchPath(machine: Machine): string[] {
  const { delimiter, isAbsolute } = pathsOf(machine);
  return (machine.env['PATH'] ?? machine.env['Path'] ?? '').split(delimiter).filter(isAbsolute);
}

function contains(root: string, folder: string, machine: Machine): boolean {
  const { relative, isAbsolute, sep } = pathsOf(machine);
  const way = relative(root, folder);
  return way === '' || (way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way));
}

function environments(folder: string, machine: Machine): string[] {
  return ['.venv', 'venv'].map((name) => pathsOf(machine).join(folder, name, scripts(machine)));
}

function scripts(machine: Machine): string {
  return machine.platform === 'win32' ? 'Scripts' : 'bin';
}

/**
 * Return the folders where uv and pipx put programs, then the programs' environments, which exist even if PATH lacks
 * the former, and last the environment that install.ts makes.
 */
function toolFolders(machine: Machine): string[] {
  const { env, home } = machine;
  const { join, isAbsolute } = pathsOf(machine);
  const data = env['XDG_DATA_HOME'] ?? join(home, '.local', 'share');
  const programs = [env['UV_TOOL_BIN_DIR'], env['PIPX_BIN_DIR'], env['XDG_BIN_HOME'], join(home, '.local', 'bin')];
  const homes = [
    env['UV_TOOL_DIR'], join(data, 'uv', 'tools'),
    env['PIPX_HOME'] && join(env['PIPX_HOME'], 'venvs'), join(data, 'pipx', 'venvs'), join(home, '.local', 'pipx', 'venvs'),
    ...(machine.platform === 'darwin' ? [join(home, 'Library', 'Application Support', 'pipx', 'venvs')] : []),
    ...(machine.platform === 'win32' ? [join(home, 'pipx', 'venvs')] : []),
    ...(env['APPDATA'] ? [join(env['APPDATA'], 'uv', 'tools'), join(env['APPDATA'], 'uv', 'data', 'tools')] : []),
  ];
  const isUsable = (folder: string | undefined): folder is string => folder !== undefined && isAbsolute(folder);
  return [
    ...programs.filter(isUsable),
    ...homes.filter(isUsable).map((folder) => join(folder, 'midfill', scripts(machine))),
    join(home, '.local', 'share', 'midfill', 'venv', scripts(machine)),
  ];
}
