// Written by make settings: what the server has, too.
export const MAX_AHEAD = 16;
export const MAX_PLACES = 20;
export const MAX_NAMES = 5000;
export const MAX_WHOLE = 49;
export const MAX_KEYWORDS = 5;
export const MAX_SIGNATURES = 40;
export const PAIRS = ['()', '[]', '{}', '""', "''", '``'];
export const EVERY_TIME = ['', 'starting', 'building the model', 'loading', 'checking', 'loading the adapter', 'connecting'];
