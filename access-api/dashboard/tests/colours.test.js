import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { COLOURS, colourOf, hashOf } from '../colours.js';

const css = readFileSync(new URL('../theme.css', import.meta.url), 'utf8');

// The numbers of one theme: lightness, its step to the second tone, chroma, and the ground that bars stand on.
function theme(selector) {
  const block = css.slice(css.indexOf(`${selector} {`)).split('}')[0];
  const value = (name) => new RegExp(`--${name}: ([^;]+);`).exec(block)[1];
  return { light: Number(value('bar-light')), step: Number(value('bar-tone')), chroma: Number(value('bar-chroma')), ground: value('ground') };
}

// Ottosson's OKLab to linear sRGB.
function linear(lightness, chroma, hue) {
  const a = chroma * Math.cos((hue * Math.PI) / 180);
  const b = chroma * Math.sin((hue * Math.PI) / 180);
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s,
  ];
}

function linearOfHex(hex) {
  return [1, 3, 5].map((at) => {
    const value = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
}

const luminance = ([r, g, b]) => 0.2126 * r + 0.7152 * g + 0.0722 * b;

for (const selector of [':root', ':root[data-theme="dark"]']) {
  test(`every colour can be shown on a screen and stands out from the ground: ${selector}`, () => {
    const { light, step, chroma, ground } = theme(selector);
    const below = luminance(linearOfHex(ground));
    for (const colour of COLOURS) {
      const rgb = linear(light + step * colour.tone, chroma * colour.chroma, colour.hue);
      assert.ok(rgb.every((value) => value >= 0 && value <= 1), `${JSON.stringify(colour)} is outside of sRGB: ${rgb}`);
      const own = luminance(rgb);
      const contrast = (Math.max(own, below) + 0.05) / (Math.min(own, below) + 0.05);
      assert.ok(contrast >= 3, `${JSON.stringify(colour)} has a contrast of ${contrast}`);
    }
  });
}

test('an item has one colour on every screen: it depends on its name alone', () => {
  assert.equal(hashOf('Social'), 2_250_101_184);
  assert.equal(colourOf('Social'), COLOURS[2_250_101_184 % COLOURS.length]);
});

test('a thousand items use every colour, and none much more than another', () => {
  const uses = new Map(COLOURS.map((colour) => [colour, 0]));
  for (let i = 0; i < 1_000; i += 1) {
    const colour = colourOf(`topic ${i}`);
    uses.set(colour, uses.get(colour) + 1);
  }
  const counts = [...uses.values()];
  assert.ok(Math.min(...counts) > 10 && Math.max(...counts) < 100, String(counts));
});
