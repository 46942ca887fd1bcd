// The colour of a bar. It depends on the item's name alone, so that an item has the same colour on every screen, after
// every reload and at every rank. Two items may have the same colour; their names stand beside the bars.
// Pure: the numbers are used by `.row` in theme.css, which adds lightness and chroma of the light or the dark theme.

// Twelve hues, each in two tones. `chroma` is the share of the theme's chroma that the hue keeps, because screens (sRGB)
// cannot show every hue equally strongly, and a colour that is clipped makes a visible edge in a gradient.
const HUES = [
  { hue: 195, chroma: 0.69 },
  { hue: 25, chroma: 1 },
  { hue: 260, chroma: 1 },
  { hue: 150, chroma: 1 },
  { hue: 305, chroma: 1 },
  { hue: 70, chroma: 0.9 },
  { hue: 225, chroma: 0.77 },
  { hue: 350, chroma: 1 },
  { hue: 120, chroma: 0.92 },
  { hue: 280, chroma: 1 },
  { hue: 48, chroma: 1 },
  { hue: 172, chroma: 0.8 },
];

export const COLOURS = [0, 1].flatMap((tone) => HUES.map((hue) => ({ ...hue, tone })));

export function colourOf(item) {
  return COLOURS[hashOf(item) % COLOURS.length];
}

// FNV-1a over UTF-16 units, then the finaliser of MurmurHash3, which mixes all bits: `colourOf` takes a remainder. An item
// gets the same number in every browser.
export function hashOf(item) {
  let hash = 0x811c9dc5;
  for (let i = 0; i < item.length; i += 1) {
    hash = Math.imul(hash ^ item.charCodeAt(i), 0x01000193) >>> 0;
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
