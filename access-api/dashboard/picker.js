// The row of queries to choose from. An entry stays in the document while its query exists, so that the keyboard's focus
// stays where it is when queries come and go.

export function createPicker(box) {
  const entries = new Map(); // name -> { label, input }
  let shown = null;

  function createEntry(name) {
    const label = document.createElement('label');
    const input = document.createElement('input');
    const text = document.createElement('span');
    input.type = 'radio';
    input.name = 'query';
    input.value = name;
    text.textContent = name;
    label.append(input, text);
    return { label, input };
  }

  // `names` are sorted, so that an entry that stays never has to be moved, by which it would lose the focus.
  function place(names) {
    const wanted = new Set(names);
    let lostFocus = false;
    for (const [name, { label }] of entries) {
      if (wanted.has(name)) continue;
      lostFocus ||= label.contains(document.activeElement);
      label.remove();
      entries.delete(name);
    }
    let next = box.querySelector('label');
    for (const name of names) {
      const entry = entries.get(name) ?? createEntry(name);
      entries.set(name, entry);
      if (entry.label === next) next = next.nextElementSibling;
      else box.insertBefore(entry.label, next);
    }
    box.hidden = names.length === 0;
    return lostFocus;
  }

  return (names, chosen) => {
    const picture = JSON.stringify([names, chosen]);
    if (picture === shown) return;
    shown = picture;
    const lostFocus = place(names);
    for (const [name, { input }] of entries) {
      if (input.checked === (name === chosen)) continue;
      input.checked = name === chosen;
      if (input.checked) input.parentElement.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    }
    if (lostFocus) entries.get(chosen)?.input.focus();
  };
}
