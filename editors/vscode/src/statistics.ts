/** The output of `midfill stats --json` as short lines: the user reads them in a narrow column beside the code. */

type Figures = Record<string, number | null>;

const WEEK = 'This machine, the last 7 days';
const ROWS: [string, string, (figure: number) => string][] = [
  ['shown', 'shown', String], ['accepted', '  accepted', String], ['partial', '  in part', String],
  ['typed', '  typed', String], ['rejected', '  rejected', String], ['shown_acceptance', 'rate', percent],
  ['kept_30', 'kept 30 s', percent], ['kept_300', 'kept 5 min', percent],
  ['latency_p50_s', 'answer, p50', milliseconds], ['latency_p95_s', 'answer, p95', milliseconds],
  ['accepted_chars', 'characters accepted', String], ['from_cache', 'from the cache', String],
];
const GROUPS: [string, string][] = [['trigger', 'Trigger'], ['language', 'Languages'], ['adapter', 'Adapters']];

/** Return the counters of this window, one per line. */
export function counters(counts: Record<string, unknown>): string {
  const known = Object.entries(counts).filter((entry): entry is [string, number] => typeof entry[1] === 'number');
  return block('This window', known.map(([name, value]) => row(name, String(value))));
}

/** Return a week's records as text; if `json` is not JSON, it is shown as it is. */
export function week(json: string): string {
  const told = parsed(json);
  if (told === undefined) {
    return block(WEEK, [json.trim()]);
  }
  const all = told['all'] as Figures;
  if (!all['shown']) {
    return block(WEEK, ['nothing was shown yet, or records', 'are turned off']);
  }
  const lines = ROWS.flatMap(([key, name, spelled]) => {
    const figure = all[key];
    return typeof figure === 'number' ? [row(name, spelled(figure))] : [];
  });
  const groups = GROUPS.map(([key, title]) => block(title, members((told[key] ?? {}) as Record<string, Figures>)));
  return [block(WEEK, lines), ...groups].join('\n');
}

function parsed(json: string): Record<string, unknown> | undefined {
  try {
    const told: unknown = JSON.parse(json);
    const isTold = typeof told === 'object' && told !== null && typeof (told as { all?: unknown }).all === 'object';
    return isTold ? (told as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function members(figures: Record<string, Figures>): string[] {
  return Object.entries(figures).map(([name, { shown, shown_acceptance: rate }]) =>
    row(name || 'unknown', `${shown ?? 0}${typeof rate === 'number' ? `, ${percent(rate)}` : ''}`));
}

/** Return a line that fits the narrowest column beside the code, unless a name is longer. */
function row(name: string, value: string): string {
  return `  ${name.padEnd(16)} ${value.padStart(8)}`;
}

function block(title: string, lines: readonly string[]): string {
  return `${[title, '', ...lines].join('\n')}\n`;
}

function percent(share: number): string {
  return `${Math.round(100 * share)}%`;
}

function milliseconds(seconds: number): string {
  return `${Math.round(1000 * seconds)} ms`;
}

/**
 * Return a story of midfill (`  name       text`) with each text below its name: on a narrow page a long text wraps
 * under itself.
 */
export function narrowed(story: string): string {
  return story.split('\n').map((line) => {
    const [, name, text] = /^ {2}(\S.{0,11}?) {2,}(\S.*)$/.exec(line) ?? [];
    return name === undefined ? line : `${name}\n  ${text}`;
  }).join('\n');
}
