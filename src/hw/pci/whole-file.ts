import {
  closeSync,
  constants,
  fchmodSync,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";

/** Writes a file so that it is there as a whole or not at all, also after a crash, with its mode whatever the umask is. */
export function writeWholeFile(path: string, text: string, mode: number): void {
  const temporary = `${path}.${process.pid}`;
  rmSync(temporary, { force: true });
  // A file of that name put there by somebody else is an error, and no link is followed.
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const fd = openSync(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
  try {
    fchmodSync(fd, mode);
    writeSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(temporary, path);
}
