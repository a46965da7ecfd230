// The extension's pure parts: rows of data, run by node's own test runner (test_package.py starts it).

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { find, installer, onPath } from '../../../editors/vscode/src/find.ts';
import type { Machine } from '../../../editors/vscode/src/find.ts';
import { Dismissed } from '../../../editors/vscode/src/dismissed.ts';
import { adds, goingOn, leadsOn, same, takenPart, typedPiece, uncovered } from '../../../editors/vscode/src/growth.ts';
import { change, options, toggled } from '../../../editors/vscode/src/settings.ts';
import type { Inspected } from '../../../editors/vscode/src/settings.ts';
import { counters, narrowed, week } from '../../../editors/vscode/src/statistics.ts';
import { STARTING, headline, view } from '../../../editors/vscode/src/status.ts';
import { GROWS_SINCE, isAtLeast } from '../../../editors/vscode/src/versions.ts';

function machine(programs: string[], env: Record<string, string> = {}, platform: NodeJS.Platform = 'linux'): Machine {
  const home = platform === 'win32' ? 'C:\\Users\\me' : '/home/me';
  return { env, home, platform, isProgram: (file) => programs.includes(file) };
}

const VENV = '/w/.venv/bin/midfill';
const ON_PATH = '/usr/local/bin/midfill';
const UV = '/home/me/.local/share/uv/tools/midfill/bin/midfill';
const PIPX = '/home/me/.local/share/pipx/venvs/midfill/bin/midfill';
const LOCAL = '/home/me/.local/bin/midfill';
const OWN = '/home/me/.local/share/midfill/venv/bin/midfill';
const PATH = { PATH: '/usr/local/bin:/usr/bin' };

const FINDS: [string, string, boolean, Machine, string | undefined][] = [
  ['nothing anywhere', '', true, machine([], PATH), undefined],
  ['the setting before all', '/opt/midfill', true, machine(['/opt/midfill', VENV, ON_PATH], PATH), '/opt/midfill'],
  ['the setting under home', '~/m/midfill', true, machine(['/home/me/m/midfill']), '/home/me/m/midfill'],
  ['a setting that is wrong is not passed over', '/opt/none', true, machine([VENV, ON_PATH], PATH), undefined],
  ['a relative setting', './midfill', true, machine(['./midfill', '/w/midfill']), undefined],
  ['the virtual environment', '', true, machine([VENV, ON_PATH, UV], PATH), VENV],
  ['its other name', '', true, machine(['/w/venv/bin/midfill']), '/w/venv/bin/midfill'],
  ['not without trust', '', false, machine([VENV, ON_PATH], PATH), ON_PATH],
  ['PATH before the tools', '', true, machine([ON_PATH, UV], PATH), ON_PATH],
  ['relative folders of PATH', '', true, machine(['./midfill', 'bin/midfill', '/midfill'], { PATH: '.:bin::' }), undefined],
  ['PATH in the workspace, trusted', '', true, machine(['/w/bin/midfill'], { PATH: '/w/bin' }), '/w/bin/midfill'],
  ['PATH in the workspace, not trusted', '', false, machine(['/w/bin/midfill'], { PATH: '/w/bin' }), undefined],
  ['the workspace itself on PATH', '', false, machine(['/w/midfill'], { PATH: '/w' }), undefined],
  ['beside the workspace', '', false, machine(['/w2/midfill'], { PATH: '/w2' }), '/w2/midfill'],
  ['uv', '', false, machine([UV], PATH), UV],
  ['uv elsewhere', '', false, machine(['/t/midfill/bin/midfill'], { UV_TOOL_DIR: '/t' }), '/t/midfill/bin/midfill'],
  ['a relative folder of uv', '', false, machine(['t/midfill/bin/midfill'], { UV_TOOL_DIR: 't' }), undefined],
  ['pipx', '', false, machine([PIPX], PATH), PIPX],
  ['pipx elsewhere', '', false, machine(['/p/venvs/midfill/bin/midfill'], { PIPX_HOME: '/p' }), '/p/venvs/midfill/bin/midfill'],
  ['their programs first', '', false, machine([LOCAL, UV, PIPX]), LOCAL],
  ['the environment that the extension offers', '', false, machine([OWN]), OWN],
];

for (const [name, setting, trusted, where, expected] of FINDS) {
  test(`find: ${name}`, () => {
    assert.equal(find(setting, ['/w'], trusted, where).program, expected);
  });
}

test('find: Windows', () => {
  const env = { Path: 'C:\\tools;tools', APPDATA: 'C:\\Users\\me\\AppData\\Roaming' };
  const own = 'C:\\w\\.venv\\Scripts\\midfill.exe';
  const uv = 'C:\\Users\\me\\AppData\\Roaming\\uv\\tools\\midfill\\Scripts\\midfill.exe';
  assert.equal(find('', ['C:\\w'], true, machine([own, uv], env, 'win32')).program, own);
  assert.equal(find('', ['C:\\w'], false, machine([own, uv], env, 'win32')).program, uv);
  assert.equal(find('', [], true, machine(['tools\\midfill.exe'], env, 'win32')).program, undefined);
  assert.equal(onPath('uv', [], machine(['C:\\tools\\uv.exe'], env, 'win32')), true);
});

test('what installs midfill is never the workspace\'s', () => {
  assert.equal(onPath('uv', ['/w'], machine(['/usr/bin/uv'], PATH)), true);
  assert.equal(onPath('uv', ['/w'], machine(['/w/uv', 'uv'], { PATH: '/w:.' })), false);
});

const CHOICES: [string, Record<string, Inspected>, Record<string, unknown>][] = [
  ['nothing set', {}, {}],
  ['the person\'s', { model: { globalValue: 'embedded' } }, { model: 'embedded' }],
  ['the workspace before the person', { maxTokens: { globalValue: 5, workspaceValue: 9 } }, { maxTokens: 9 }],
  ['no model of the workspace\'s', { model: { workspaceValue: './evil' } }, {}],
  ['no address, path or record of its either', { path: { workspaceValue: './x' }, records: { workspaceValue: false } }, {}],
  ['an adapter by name', { adapter: { workspaceValue: 'mine' } }, { adapter: 'mine' }],
  ['no folder as an adapter', { adapter: { workspaceValue: '../evil', globalValue: 'mine' } }, { adapter: 'mine' }],
  ['no dot either', { adapter: { workspaceValue: '..' } }, {}],
  ['a folder of the person\'s', { adapter: { globalValue: '/mine' } }, { adapter: '/mine' }],
  ['false is a value', { enabled: { workspaceValue: false, globalValue: true } }, { enabled: false }],
  ['what is the editor\'s stays here', { trigger: { globalValue: 'manual' }, grow: { globalValue: false } }, {}],
];

for (const [name, values, expected] of CHOICES) {
  test(`options: ${name}`, () => {
    assert.deepEqual(options((key) => values[key]), expected);
  });
}

test('other options: told, or begun anew where one is taken back', () => {
  assert.equal(change({ a: 1 }, { a: 1 }), 'none');
  assert.equal(change({ a: 1 }, { a: 2 }), 'tell');
  assert.equal(change({ a: 1 }, { a: 1, b: 2 }), 'tell');
  assert.equal(change({ a: 1, b: 2 }, { a: 1 }), 'restart');
});

test('a list entry is switched', () => {
  assert.deepEqual(toggled(['a'], 'b'), ['a', 'b']);
  assert.deepEqual(toggled(['a', 'b'], 'b'), ['a']);
});

const VERSIONS: [string, boolean][] = [
  ['1.106.0', true], ['1.106.0-insider', true], ['1.139.1', true], ['2.0.0', true], ['1.105.9', false], ['1.91.0', false],
  ['0.200.0', false], ['', false], ['nightly', false],
];

for (const [version, grows] of VERSIONS) {
  test(`version ${JSON.stringify(version)} ${grows ? 'grows' : 'does not grow'}`, () => {
    assert.equal(isAtLeast(version, GROWS_SINCE), grows);
  });
}

test('only what adds to the shown text is worth a frame while it grows', () => {
  assert.equal(adds([], ['a']), true);
  assert.equal(adds(['a'], ['ab']), true);
  assert.equal(adds(['ab'], ['ab']), false);
  assert.equal(adds(['ab'], ['a']), false);
  assert.equal(adds(['ab'], ['xyz']), false);
  assert.equal(adds(['ab'], []), false);
  assert.equal(same(['a', 'b'], ['a', 'b']), true);
  assert.equal(same(['a'], ['a', 'b']), false);
  assert.equal(same([], []), true);
});

test('typing along', () => {
  for (const [text, typed, fits] of [
    ['alpha', 'al', true], ['alpha', 'alpha', true], ['al', 'alpha', true], ['alpha', 'b', false], ['', 'a', false],
    ['a', 'a'.repeat(17), true], ['a', 'a'.repeat(18), false],
  ] as const) {
    assert.equal(leadsOn(text, typed), fits, `${text} ${typed}`);
  }
});

test('what an edit typed', () => {
  for (const [rangeOffset, rangeLength, text, piece] of [
    [5, 0, 'a', 'a'], [5, 0, 'ab', 'ab'], [5, 0, '()', '('], [4, 0, 'a', ''], [5, 1, ')', ')'], [5, 2, ')', ''],
    [5, 1, 'ab', ''], [5, 1, '', ''], [5, 0, '', ''],
  ] as const) {
    assert.equal(typedPiece({ rangeOffset, rangeLength, text }, 5), piece, text);
  }
});

test('a part that was taken', () => {
  for (const [text, offset, piece, n] of [
    ['alpha beta', 5, 'alpha', 5], ['alpha beta', 5, 'a', 0], ['alpha beta', 6, 'alpha', 0], ['alpha', 5, 'alpha', 0],
    ['() + 1', 5, '()', 0], ['a\nb', 5, 'a\n', 2], ['alpha', 5, 'be', 0],
  ] as const) {
    assert.equal(takenPart(text, offset, { rangeOffset: 5, text: piece }), n, piece);
  }
});

const VIEWS: [string, Partial<typeof STARTING>, { missing?: string; off?: string; snoozedS?: number }, string, string][] = [
  ['starting', {}, {}, '$(loading~spin) midfill', 'Connecting to the engine'],
  ['starting with progress', { stage: 'loading', progress: 0.429 }, {}, '$(loading~spin) midfill 42%', 'Loading the model: 42%'],
  ['preparing', { stage: 'converting', progress: 0.1 }, {}, '$(loading~spin) midfill 10%', 'Preparing the model (first time only): 10%'],
  ['fetching', { stage: 'fetching a/b', progress: null }, {}, '$(loading~spin) midfill', 'Downloading the model (first time only)'],
  ['ready', { state: 'ready', model: 'm', adapter: 'mine', device: 'cpu' }, {}, '$(check) midfill', 'Adapter: mine'],
  ['generating', { state: 'generating' }, {}, '$(sync~spin) midfill', 'No adapter'],
  ['ready, and a remark', { state: 'ready', message: 'odd', remedy: 'look' }, {}, '$(info) midfill', 'Look.'],
  ['off', { state: 'off' }, {}, '$(circle-slash) midfill', 'midfill is turned off.'],
  ['off here', { state: 'ready' }, { off: 'off for python' }, '$(circle-slash) midfill', 'Off for python.'],
  ['snoozed', { state: 'ready' }, { off: 'snoozed', snoozedS: 841 }, '$(bell-slash) midfill 15 min', 'Snoozed for another 15 minutes.'],
  ['nearly over', { state: 'ready' }, { snoozedS: 9 }, '$(bell-slash) midfill 1 min', 'Snoozed for another 1 minute.'],
  ['an error before a snooze', { state: 'error', message: 'broken' }, { snoozedS: 9 }, '$(error) midfill', 'Broken.'],
  ['an error before off', { state: 'error', message: 'broken' }, { off: 'x' }, '$(error) midfill', 'Broken.'],
  ['missing before all', { state: 'error' }, { missing: 'gone' }, '$(warning) midfill', 'Gone.'],
];

for (const [name, status, around, text, line] of VIEWS) {
  test(`status: ${name}`, () => {
    const beside = { missing: '', off: '', snoozedS: 0, ...around };
    const shown = view({ ...STARTING, ...status }, beside);
    assert.equal(shown.text, text);
    assert.equal(/ready/i.test(headline({ ...STARTING, ...status }, beside)), /check|sync|info/.test(text));
    assert.ok(shown.lines.includes(line), JSON.stringify(shown.lines));
  });
}

test('an installer is called by its name, or by its path', () => {
  assert.equal(installer('uv', [], machine(['/usr/bin/uv'], PATH)), 'uv');
  assert.equal(installer('uv', [], machine(['/home/me/.local/bin/uv'], PATH)), '/home/me/.local/bin/uv');
  assert.equal(installer('uv', [], machine(['/home/me/.cargo/bin/uv'], PATH)), '/home/me/.cargo/bin/uv');
  assert.equal(installer('uv', ['/w'], machine(['/w/uv'], { PATH: '/w' })), '');
});

test('a suggestion while an entry is selected', () => {
  for (const [entry, typed, text, whole] of [
    ['names', 'name', 's.pop()', 'names.pop()'], ['names', 'name', '.strip()', undefined], ['name', 'name', '.x', 'name.x'],
    ['Names', 'nam', 'es', undefined], ['names', '', 'names', 'names'], ['names', 'nam', 'e', undefined],
  ] as const) {
    assert.equal(goingOn(entry, typed, text), whole, `${entry} ${typed} ${text}`);
  }
});

test('what is drawn beside closers', () => {
  assert.equal(uncovered('a, b)', ')'), 'a, b');
  assert.equal(uncovered('a, b):\n  x', ')'), 'a, b):\n  x');
  assert.equal(uncovered('a', ''), 'a');
});

const LINES = ['one', 'x = ', 'three'];
const AFTER: [string, [number, number, number][], string[], [number, number], boolean][] = [
  ['nothing', [], LINES, [1, 4], true],
  ['typed along', [[1, 1, 0]], ['one', 'x = un', 'three'], [1, 6], true],
  ['typed along, and brackets closed', [[1, 1, 0]], ['one', 'x = un)', 'three'], [1, 6], true],
  ['all of it typed', [[1, 1, 0]], ['one', 'x = uno(1', 'three'], [1, 9], false],
  ['typed otherwise', [[1, 1, 0]], ['one', 'x = a', 'three'], [1, 5], false],
  ['deleted', [[1, 1, 0]], ['one', 'x =', 'three'], [1, 3], false],
  ['a line above', [[0, 0, 1]], ['one', '', 'x = ', 'three'], [2, 4], true],
  ['a line above is gone', [[0, 1, 0]], ['x = ', 'three'], [0, 4], true],
  ['a line below', [[2, 2, 1]], ['one', 'x = ', 'three', ''], [1, 4], true],
  ['another line', [], LINES, [2, 5], false],
  ['another column', [], LINES, [1, 2], false],
];

for (const [name, changes, lines, [line, column], held] of AFTER) {
  test(`dismissed: ${name}`, () => {
    const dismissed = new Dismissed();
    dismissed.add(1, LINES[1]!, 4, 'uno(1');
    dismissed.changed(changes.map(([startLine, endLine, nBreaks]) => ({ startLine, endLine, nBreaks })), (n) => lines[n]);
    assert.equal(dismissed.holds(line, lines[line]!, column), held);
  });
}

test('dismissed: forgotten, also where the line is again what it was', () => {
  const dismissed = new Dismissed();
  dismissed.add(1, 'x = ', 4, 'uno');
  dismissed.changed([{ startLine: 1, endLine: 1, nBreaks: 0 }], () => 'x =');
  dismissed.changed([{ startLine: 1, endLine: 1, nBreaks: 0 }], () => 'x = ');
  assert.equal(dismissed.holds(1, 'x = ', 4), false);
  dismissed.add(1, 'x = ', 4, 'uno');
  dismissed.forget(1);
  assert.equal(dismissed.holds(1, 'x = ', 4), false);
});

const RECORDS = {
  all: {
    shown: 120, accepted: 30, partial: 4, typed: 10, rejected: 76, shown_acceptance: 0.283, accepted_chars: 2310, kept_30: 0.91,
    kept_300: null, latency_p50_s: 0.2104, latency_p95_s: 0.8, decoded_tokens: 5000, from_cache: 12,
  },
  language: { typescriptreact: { shown: 80, shown_acceptance: 0.3 }, '': { shown: 2, shown_acceptance: null } },
};

test('statistics are read in a narrow column', () => {
  const text = counters({ requests: 7, engine: {} }) + week(JSON.stringify(RECORDS));
  assert.ok(text.split('\n').every((line) => line.length <= 30), text);
  for (const line of ['requests 7', 'shown 120', 'rate 28%', 'answer, p50 210 ms', 'typescriptreact 80, 30%', 'unknown 2']) {
    assert.ok(text.replace(/ +/g, ' ').includes(` ${line}\n`), `${line} in ${text}`);
  }
  assert.ok(!text.includes('5 min'));
  assert.ok(week('{"all": {"shown": 0}}').includes('nothing was shown yet'));
  assert.ok(week('no such program').includes('no such program'));
});

test('a story on a narrow page', () => {
  const story = 'Nothing was shown: why.\n\n  place      file:///a.py:1:2 python\n  ended by   stop  here\n  suggestion abc';
  assert.equal(narrowed(story),
    'Nothing was shown: why.\n\nplace\n  file:///a.py:1:2 python\nended by\n  stop  here\n  suggestion abc');
});
