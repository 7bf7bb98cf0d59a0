// What this browser remembers: localStorage for good, sessionStorage until the tab closes. Storage may be forbidden or
// full; then nothing is remembered, and the page works all the same.

export function read(storage, name) {
  try {
    return window[storage].getItem(name);
  } catch {
    return null;
  }
}

export function write(storage, name, value) {
  try {
    if (value === null) window[storage].removeItem(name);
    else window[storage].setItem(name, value);
  } catch {
    /* see above */
  }
}
