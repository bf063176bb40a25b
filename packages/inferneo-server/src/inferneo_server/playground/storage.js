// Receives a name and a value; hands the value on after a reload of the same tab.

const PREFIX = 'inferneo.';

// A browser may refuse storage, or have no room left: the page then forgets at a reload, and no
// more.
export function load(name, fallback) {
  try {
    return JSON.parse(sessionStorage.getItem(PREFIX + name)) ?? fallback;
  } catch {
    return fallback;
  }
}

export function save(name, value) {
  try {
    sessionStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // See above.
  }
}
