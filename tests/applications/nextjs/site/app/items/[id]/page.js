// The first one is made at build time, others when they are asked for; both are kept for a minute.
export const revalidate = 60;

export function generateStaticParams() {
  return [{ id: '1' }];
}

export default async function Page({ params }) {
  return <p>{`item ${(await params).id}`}</p>;
}
