import Link from 'next/link';
import Counter from './counter';

export default function Page() {
  return (
    <main>
      <h1>A page made at build time</h1>
      <Counter />
      <Link href="/slow">a slow one</Link>
    </main>
  );
}
