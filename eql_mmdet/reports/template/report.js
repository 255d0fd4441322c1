'use strict';
(() => {
  const FIRST = 100; // rows made at once, so that the page opens quickly
  const find = (id) => document.getElementById(id);
  const data = JSON.parse(find('data').textContent);
  const keys = data.columns.map((column) => column[0]);
  const at = (key) => keys.indexOf(key);
  const table = find('table');
  const state = {column: at('AP'), descending: false, all: false};

  const show = (value, kind) => {
    if (value === null) {
      return '–';
    }
    const text = kind === 'percent' ? value.toFixed(1) :
      kind === 'count' ? value.toLocaleString('en') : String(value);
    return kind === 'text' ? text : text.replace(/^-/, '−');
  };

  const makeRow = (values) => {
    const row = document.createElement('tr');
    values.forEach((value, i) => {
      const cell = document.createElement(i ? 'td' : 'th');
      const kind = data.columns[i][2];
      cell.textContent = show(value, kind);
      cell.className = kind;
      row.append(cell);
    });
    return row;
  };

  // What is unknown comes last, whatever the direction.
  const compare = (a, b) => {
    const [x, y] = [a[state.column], b[state.column]];
    if (x === null || y === null || x === '' || y === '') {
      return (x === null || x === '') - (y === null || y === '');
    }
    const order = typeof x === 'number' ? x - y : x.localeCompare(y);
    return state.descending ? -order : order;
  };

  const draw = () => {
    const words = find('search').value.trim().toLowerCase();
    const group = find('group').value;
    const found = data.rows.filter((values) =>
      values[0].toLowerCase().includes(words) &&
      (!group || values[at('group')] === group)).sort(compare);
    const shown = state.all ? found : found.slice(0, FIRST);
    table.tBodies[0].replaceChildren(...shown.map(makeRow));
    find('count').textContent =
      `${found.length} of ${data.rows.length} categories`;
    find('all').hidden = shown.length === found.length;
    [...table.tHead.rows[0].cells].forEach((cell, i) => {
      cell.removeAttribute('aria-sort');
      if (i === state.column) {
        cell.setAttribute('aria-sort',
          state.descending ? 'descending' : 'ascending');
      }
    });
  };

  const head = table.tHead.insertRow();
  data.columns.forEach(([, heading, kind], i) => {
    const cell = document.createElement('th');
    cell.className = kind;
    cell.scope = 'col';
    if (kind === 'interval') {
      cell.textContent = heading;
    } else {
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = heading;
      button.addEventListener('click', () => {
        // At first the highest numbers, and names from A.
        state.descending = state.column === i ? !state.descending :
          kind !== 'text';
        state.column = i;
        draw();
      });
      cell.append(button);
    }
    head.append(cell);
  });
  find('search').addEventListener('input', draw);
  find('group').addEventListener('input', draw);
  find('all').addEventListener('click', () => {
    state.all = true;
    draw();
  });
  draw();

  // The points of the charts.
  const tip = find('tip');
  document.addEventListener('pointerover', (event) => {
    const point = event.target.closest('.chart [data-k]');
    tip.hidden = !point;
    if (!point) {
      return;
    }
    const values = data.rows[point.dataset.k];
    const told = (key) => show(values[at(key)], data.columns[at(key)][2]);
    tip.textContent = `${values[0]}: AP ${told('AP')}, ` +
      `${told('image_count')} training images, ${told('objects')} objects`;
    const {clientX: x, clientY: y} = event;
    tip.style.left = `${Math.max(4, Math.min(x + 12, innerWidth - 270))}px`;
    tip.style.top = `${y + 64 < innerHeight ? y + 14 : y - 56}px`;
  });
  document.addEventListener('click', (event) => {
    const point = event.target.closest('.chart [data-k]');
    if (point) {
      find('search').value = data.rows[point.dataset.k][0];
      find('group').value = '';
      draw();
      find('categories').scrollIntoView();
    }
  });

  // A picture at its full size.
  const dialog = find('large');
  document.addEventListener('click', (event) => {
    const button = event.target.closest('.picture button');
    if (button) {
      const [small, large] = [button, dialog].map(
        (element) => element.querySelector('img'));
      large.src = small.src;
      large.alt = small.alt;
      dialog.showModal();
    } else if (event.target === dialog) {
      dialog.close();
    }
  });
})();
