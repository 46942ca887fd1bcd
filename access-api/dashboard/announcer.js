// The leading items as text for a screen reader: only when they changed, and at most every 15 s. Pure: time is an argument.

const ANNOUNCE_EVERY_MS = 15_000;

export function createAnnouncer() {
  let last = { text: '', at: -Infinity };

  // The text to announce now, or null.
  return (view, now) => {
    if (view.paused || view.result === null || now - last.at < ANNOUNCE_EVERY_MS) return null;
    const text = textOf(view);
    if (text === last.text) return null;
    last = { text, at: now };
    return text;
  };
}

function textOf({ state, word, detail, query, top }) {
  if (state !== 'live' && state !== 'quiet') return detail === '' ? `${word}.` : `${word}: ${detail}.`;
  const leaders = top.slice(0, 3).map((entry) => entry.item);
  return leaders.length > 0 ? `${query}: ${leaders.join(', ')} lead.` : `${query}: nothing counted yet.`;
}
