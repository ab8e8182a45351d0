// Which room may open which door. Everything else is derived from this table.
const mayUse = {
  base: [],
  storage: ['base'],
  http: ['base'],
  edge: ['base'],
  identity: ['base', 'storage'],
  metrics: ['base', 'storage'],
  analytics: ['base', 'storage', 'metrics'],
  alerting: ['base', 'storage', 'metrics', 'analytics'],
  scaling: ['base', 'storage', 'metrics', 'analytics'],
  optimizer: ['base', 'storage', 'metrics', 'analytics'],
  market: ['base', 'storage', 'identity'],
  dashboard: ['base', 'metrics', 'analytics', 'alerting', 'scaling', 'optimizer', 'market'],
}
const rooms = Object.keys(mayUse)
const foundation = ['base', 'storage', 'http'] // plain modules, no front door
const domain = rooms.filter((r) => !foundation.includes(r))
const any = (names) => `(${names.join('|')})`
const test = '[.](test|contract|bench)[.]ts$'
const roof = '^src/(app/|cli/|main[.]ts$)'

module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    ...rooms.map((room) => ({
      name: `${room}-looks-only-upstream`,
      severity: 'error',
      // routes.ts of a room, and of a folder in it, are the files that may also speak http.
      from: {
        path: `^src/${room}/`,
        pathNot: [`^src/${room}/routes[.]ts$`, `^src/${room}/[^/]+/routes[.]ts$`, `^src/${room}/web/`],
      },
      to: { path: '^src/', pathNot: `^src/${any([room, ...mayUse[room]])}/` },
    })),
    ...domain.map((room) => ({
      name: `${room}-routes`,
      severity: 'error',
      from: { path: [`^src/${room}/routes[.]ts$`, `^src/${room}/[^/]+/routes[.]ts$`] },
      to: { path: '^src/', pathNot: `^src/${any([room, 'base', 'http', ...mayUse[room]])}/` },
    })),
    {
      name: 'front-door-only',
      severity: 'error',
      from: { path: '^src/([^/]+)/', pathNot: '^src/(app|cli|dashboard/web)/' },
      to: { path: `^src/${any(domain)}/`, pathNot: ['^src/$1/', '^src/[^/]+/(index|config)[.]ts$'] },
    },
    {
      name: 'front-door-only-from-the-roof',
      severity: 'error',
      from: { path: roof },
      to: { path: `^src/${any(domain)}/`, pathNot: '^src/[^/]+/(index|routes)[.]ts$' },
    },
    {
      name: 'config-reads-only-config',
      severity: 'error',
      from: { path: '^src/config/' },
      to: { path: '^src/', pathNot: '^src/(base/|config/|[^/]+/config[.]ts$)' },
    },
    {
      name: 'only-the-roof-reads-config',
      severity: 'error',
      from: { path: '^src/', pathNot: ['^src/config/', roof] },
      to: { path: '^src/config/' },
    },
    {
      name: 'nobody-imports-the-roof',
      severity: 'error',
      from: { path: '^src/', pathNot: roof },
      to: { path: roof },
    },
    {
      name: 'adapters-are-chosen-in-one-place',
      severity: 'error',
      from: {
        path: '^src/(alerting|scaling)/',
        pathNot: ['^src/[^/]+/index[.]ts$', '^src/[^/]+/(channels|drivers)/', test],
      },
      to: { path: '^src/(alerting/channels|scaling/drivers)/(?!channel[.]ts$|driver[.]ts$)' },
    },
    {
      name: 'pure-core',
      severity: 'error',
      comment: 'arithmetic, detectors, state machines: no disk, no sockets, no clock, no randomness',
      from: {
        path: '^src/(metrics/ingest|analytics/(detectors|forecasters)|market/(pricing|ledger)|alerting/alert[.]ts|scaling/decide[.]ts)',
        pathNot: [test, '/routes[.]ts$'],
      },
      to: {
        path: [
          '^src/(storage|http)/',
          '^src/base/(clock|random|scheduler|log|telemetry)',
          '^(node:)?(fs|net|http|https|child_process|dns|timers)',
        ],
      },
    },
    {
      name: 'web-is-a-browser',
      severity: 'error',
      from: { path: '^src/dashboard/web/', pathNot: '/vite[.]config[.]ts$' },
      to: { pathNot: ['^src/dashboard/web/', '^src/(dashboard|market)/protocol[.]ts$', 'node_modules/'] },
    },
    {
      name: 'tests-stay-out-of-the-product',
      severity: 'error',
      from: { pathNot: `${test}|^test/` },
      to: { path: `${test}|^test/` },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true, // type imports count: an architecture is made of types
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'types'] },
  },
}
