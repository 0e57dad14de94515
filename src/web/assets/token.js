// The token of this tab, where one is needed. It is sent as a header by the pages themselves: nothing that another site does sends it.

const KEY = "trainspotter.token";

/** The headers of a request to the service. */
export function authorization() {
  const token = sessionStorage.getItem(KEY);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

export function keep(token) {
  sessionStorage.setItem(KEY, token);
}

/** Forgets the token. Says whether there was one. */
export function forget() {
  const had = sessionStorage.getItem(KEY) !== null;
  sessionStorage.removeItem(KEY);
  return had;
}
