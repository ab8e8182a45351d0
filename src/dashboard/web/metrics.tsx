export function Metrics(_props: { name: string | null }) {
  return <main id="main" class="page" />
}
