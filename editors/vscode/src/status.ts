/** The text of the status bar item. */

import { EVERY_TIME } from './constants.ts';

/** `midfill/status`, as the server sends it. */
export interface ServerStatus {
  state: 'starting' | 'ready' | 'generating' | 'off' | 'error';
  message: string;
  remedy: string;
  stage: string;
  progress: number | null;
  model: string;
  adapter: string;
  device: string;
  /** The current position of the knob. */
  eagerness?: string;
  lines?: string;
  on_battery?: boolean;
  /** Seconds of the snooze that were left when the server sent this. */
  snoozed_s?: number;
}

/** What this window knows beside the server's status. */
export interface Around {
  /** Why there is no server; "" if there is one. */
  missing: string;
  /** Why there are no automatic suggestions where the cursor is; "" if there are. */
  off: string;
  /** Seconds until automatic suggestions come again; 0 without a snooze. */
  snoozedS: number;
}

export interface View {
  text: string;
  kind: 'plain' | 'warning' | 'error';
  /** The tooltip's lines, plain text. */
  lines: string[];
}

export const STARTING: ServerStatus = {
  state: 'starting', message: '', remedy: '', stage: '', progress: null, model: '', adapter: '', device: '',
};

export function isReady(status: ServerStatus): boolean {
  return status.state === 'ready' || status.state === 'generating';
}

/** Return the menu's first line: the text of the item in one line. */
export function headline(status: ServerStatus, around: Around): string {
  const [first = '', second = ''] = view(status, around).lines;
  return second ? `${first}: ${second}` : first;
}

export function view(status: ServerStatus, around: Around): View {
  if (around.missing) {
    const remedy = 'Click to install it or set its location.';
    return { text: '$(warning) midfill', kind: 'warning', lines: ['midfill not found', sentence(around.missing), remedy] };
  }
  const trouble = [sentence(status.message), sentence(status.remedy)].filter(Boolean);
  if (status.state === 'error') {
    return { text: '$(error) midfill', kind: 'error', lines: ['midfill has a problem', ...trouble] };
  }
  if (around.snoozedS > 0 && status.state !== 'off') {
    const minutes = Math.ceil(around.snoozedS / 60);
    const why = `Snoozed for another ${minutes} ${minutes === 1 ? 'minute' : 'minutes'}.`;
    return { text: `$(bell-slash) midfill ${minutes} min`, kind: 'plain', lines: ['Automatic suggestions are off', why] };
  }
  if (status.state === 'off' || around.off) {
    const why = around.off || 'midfill is turned off';
    return { text: '$(circle-slash) midfill', kind: 'plain', lines: ['Automatic suggestions are off', sentence(why)] };
  }
  if (status.state === 'starting') {
    const percent = status.progress === null ? '' : ` ${Math.floor(status.progress * 100)}%`;
    const lines = ['midfill is starting…', progress(status.stage, percent), ...trouble];
    return { text: `$(loading~spin) midfill${percent}`, kind: 'plain', lines };
  }
  const icon = status.state === 'generating' ? '$(sync~spin)' : trouble.length ? '$(info)' : '$(check)';
  return { text: `${icon} midfill`, kind: 'plain', lines: ['midfill is ready', ...facts(status), ...trouble] };
}

/** Return what a start does at this stage, and how far the whole start is. */
function progress(stage: string, percent: string): string {
  if (!stage) {
    return 'Connecting to the engine';
  }
  const is = stage.startsWith('fetching') ? 'Downloading' : EVERY_TIME.includes(stage) ? 'Loading' : 'Preparing';
  return `${is} the model${is === 'Loading' ? '' : ' (first time only)'}${percent && `:${percent}`}`;
}

function facts(status: ServerStatus): string[] {
  const adapter = status.adapter && status.adapter !== 'none' ? `Adapter: ${status.adapter}` : 'No adapter';
  return [`Model: ${status.model}`, adapter, status.device ? `Device: ${status.device}` : ''].filter(Boolean);
}

function sentence(text: string): string {
  if (text.startsWith('midfill')) {
    return text + (/[.!?]$/.test(text) ? '' : '.'); // a name that never has a capital
  }
  return text ? text[0]!.toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? '' : '.') : '';
}
