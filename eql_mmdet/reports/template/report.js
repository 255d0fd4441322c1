'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const keys = data.columns.map((column) => column[0]);
  const at = (key) => keys.indexOf(key);
  const table = document.getElementById('table');
  const body = table.tBodies[0];
  const search = document.getElementById('search');
  const group = document.getElementById('group');
  const tip = document.getElementById('tip');
  const dialog = document.getElementById('large');
  const show = (value, kind) => {
    if (value === null) {
      return '–';
    }
    const text = kind === 'percent' ? value.toFixed(1) :
      kind === 'count' ? value.toLocaleString('en') : String(value);
    return kind === 'text' ? text : text.replace(/^-/, '−');
  };

  // Rows are made once; sorting moves them and searching hides them.
  const rows = data.rows.map((values) => {
    const row = document.createElement('tr');
    values.forEach((value, i) => {
      const cell = document.createElement(i ? 'td' : 'th');
      const kind = data.columns[i][2];
      cell.textContent = show(value, kind);
      cell.className = kind;
      row.append(cell);
    });
    return {values, row, name: values[0].toLowerCase()};
  });

  const compare = (column, sign) => (a, b) => {
    const [x, y] = [a.values[column], b.values[column]];
    if (x === null || y === null || x === '' || y === '') {
      return (x === null || x === '') - (y === null || y === '');
    }
    return sign * (typeof x === 'number' ? x - y : x.localeCompare(y));
  };

  const sort = (column, descending) => {
    [...table.tHead.rows[0].cells].forEach((cell, i) => {
      if (i === column) {
        cell.setAttribute('aria-sort', descending ? 'descending' : 'ascending');
      } else {
        cell.removeAttribute('aria-sort');
      }
    });
    rows.sort(compare(column, descending ? -1 : 1));
    body.append(...rows.map((item) => item.row));
  };

  const filter = () => {
    const words = search.value.trim().toLowerCase();
    let shown = 0;
    for (const {values, row, name} of rows) {
      row.hidden = !name.includes(words) ||
        (group.value && values[at('group')] !== group.value);
      shown += !row.hidden;
    }
    document.getElementById('count').textContent =
      `${shown} of ${rows.length} categories`;
  };

  const head = table.tHead.insertRow();
  data.columns.forEach(([, heading, kind], i) => {
    const cell = document.createElement('th');
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = heading;
    button.addEventListener('click', () => {
      const now = cell.getAttribute('aria-sort');
      sort(i, now ? now === 'ascending' : kind !== 'text');
    });
    if (kind === 'interval') {
      cell.textContent = heading;
    } else {
      cell.append(button);
    }
    cell.className = kind;
    cell.scope = 'col';
    head.append(cell);
  });
  sort(at('AP'), false);
  filter();
  search.addEventListener('input', filter);
  group.addEventListener('input', filter);

  // The points of the charts.
  const tell = (event) => {
    const point = event.target.closest('.chart [data-k]');
    tip.hidden = !point;
    if (!point) {
      return;
    }
    const values = data.rows[point.dataset.k];
    tip.textContent = `${values[0]}: AP ${show(values[at('AP')], 'percent')}, ` +
      `${show(values[at('image_count')], 'count')} training images, ` +
      `${values[at('objects')]} objects`;
    const {clientX: x, clientY: y} = event;
    tip.style.left = `${Math.max(4, Math.min(x + 12, innerWidth - 270))}px`;
    tip.style.top = `${y + 64 < innerHeight ? y + 14 : y - 56}px`;
  };
  document.addEventListener('pointerover', tell);
  document.addEventListener('click', (event) => {
    const point = event.target.closest('.chart [data-k]');
    if (point) {
      search.value = data.rows[point.dataset.k][0];
      group.value = '';
      filter();
      document.getElementById('categories').scrollIntoView();
    }
    const picture = event.target.closest('.picture button');
    if (picture) {
      const large = dialog.querySelector('img');
      const small = picture.querySelector('img');
      large.src = small.src;
      large.alt = small.alt;
      dialog.showModal();
    }
    if (event.target === dialog) {
      dialog.close();
    }
  });
})();
