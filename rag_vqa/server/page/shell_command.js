// The question as a command line for a POSIX shell. Knows quoting; does not touch the page.

// A word quoted for every shell. Control characters become spaces: a line break, for one, could run
// something when pasted into a terminal.
export function quoteForShell(text) {
  const line = text.replace(/\p{Cc}+/gu, " ").trim();
  return /^[\w@%+=:,./-]+$/.test(line) ? line : `'${line.replaceAll("'", `'\\''`)}'`;
}

// `program`: the beginning that the server gives, "rag-vqa ask KB".
export function commandLine(program, text, pictureName) {
  const parts = [program];
  if (pictureName) parts.push("--image", quoteForShell(pictureName.replace(/^-/, "./-")));
  parts.push(text.trim().startsWith("-") ? `-- ${quoteForShell(text)}` : quoteForShell(text));
  return parts.join(" ");
}
