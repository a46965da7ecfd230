// `node stylua.mjs [--write] FILE...`: Lua as StyLua lays it out; without --write, status 1 where a file is not.

import { readFileSync, writeFileSync } from 'node:fs';
import * as stylua from '@johnnymorganz/stylua';

function config() {
  const config = stylua.Config.new(); // formatCode takes it away
  config.column_width = 120;
  config.indent_type = stylua.IndentType.Spaces;
  config.indent_width = 2;
  config.quote_style = stylua.QuoteStyle.AutoPreferSingle;
  return config;
}

const words = process.argv.slice(2);
const write = words.includes('--write');
for (const file of words.filter((word) => word !== '--write')) {
  const text = readFileSync(file, 'utf8');
  const laid = stylua.formatCode(text, config(), undefined, stylua.OutputVerification.Full);
  if (laid === text) continue;
  if (write) {
    writeFileSync(file, laid);
  } else {
    console.error(`${file} is not laid out as StyLua does it: make format`);
    process.exitCode = 1;
  }
}
