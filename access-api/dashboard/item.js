// How an item is written on the page. Pure.

// An item is untrusted text. Text that nobody can see is replaced by a description; all other text is left unchanged.
export function itemText(item) {
  if (item === '') return { text: '(empty text)', named: true };
  if (!/[^\s\p{Cc}\p{Cf}\p{Zl}\p{Zp}\u115f\u1160\u2800\u3164\uffa0]/u.test(item)) return { text: '(invisible text)', named: true };
  return { text: item, named: false };
}
