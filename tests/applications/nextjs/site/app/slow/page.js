// The first part is sent at once, the late one when it is there.
import { Suspense } from 'react';
import { cookies, headers } from 'next/headers';

export const dynamic = 'force-dynamic';

async function Late() {
  await new Promise((resolve) => setTimeout(resolve, 1500));
  return <p>LATE</p>;
}

export default async function Page() {
  const fields = await headers();
  const visitor = (await cookies()).get('visitor')?.value;
  const seen = ['host', 'x-forwarded-for', 'x-forwarded-proto'].map((name) => fields.get(name));
  return (
    <main>
      <p>{`FIRST for ${[...seen, visitor].join(', ')}.`}</p>
      <Suspense fallback={<p>waiting</p>}>
        <Late />
      </Suspense>
    </main>
  );
}
